//! The operations of the table one by one, with criterion's statistics and its comparison with the run before:
//! `cargo bench --bench operations -- yield`.

use criterion::{Criterion, criterion_group, criterion_main};

mod work;

/// Every operation, and the baseline first.
fn operations(criterion: &mut Criterion) {
    for work in std::iter::once(&work::BARE).chain(work::WORK) {
        criterion.bench_function(work.name, |bencher| bencher.iter_custom(work.run));
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
