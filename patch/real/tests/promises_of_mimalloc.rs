//! mimalloc as the program's allocator: it keeps a heap for each thread, and so for each greenlet.

#[path = "support/allocator.rs"]
mod allocator;
#[path = "../../tests/support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[test]
fn greenlets_allocate_with_mimalloc() {
    allocator::greenlets_allocate("greenlets_allocate_with_mimalloc");
}
