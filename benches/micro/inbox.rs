//! The memory of a responder that executes each request once.

use criterion::BenchmarkId;

use crate::cpu_time::Criterion;
use crate::memory::Memory;
use crate::topics::scattered;

const SIZES: [usize; 6] = [0, 10, 100, 1_000, 10_000, 100_000];

pub(crate) fn benchmarks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Inbox");
    for size in SIZES {
        let mut memory = Memory::new(size);
        group.bench_function(BenchmarkId::new("a new request", size), |bencher| {
            bencher.iter(|| memory.execute());
        });
        if size == 0 {
            continue;
        }
        let mut next = scattered(size);
        group.bench_function(BenchmarkId::new("a copy of an answered one", size), |bencher| {
            bencher.iter(|| memory.repeat(next() as u64));
        });
    }
}
