//! jemalloc as the program's allocator: it keeps arenas and caches for each thread, and so for each greenlet.

#[path = "support/allocator.rs"]
mod allocator;
#[path = "../../tests/support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[test]
fn greenlets_allocate_with_jemalloc() {
    allocator::greenlets_allocate("greenlets_allocate_with_jemalloc");
}
