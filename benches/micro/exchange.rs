//! The table of requests in flight: one is answered and the next begins.

use criterion::BenchmarkId;

use crate::cpu_time::Criterion;
use crate::flight::Flight;
use crate::topics::scattered;

const SIZES: [usize; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];

pub(crate) fn benchmarks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Exchanges");
    for size in SIZES {
        let mut flight = Flight::new(size);
        let mut oldest = (0..size).cycle();
        group.bench_function(BenchmarkId::new("complete and start, in order", size), |bencher| {
            bencher.iter(|| flight.answer(oldest.next().expect("it never ends")));
        });
        let mut any = scattered(size);
        group.bench_function(BenchmarkId::new("complete and start, any order", size), |bencher| {
            bencher.iter(|| flight.answer(any()));
        });
        group.bench_function(BenchmarkId::new("cancel and start, any order", size), |bencher| {
            bencher.iter(|| flight.cancel(any()));
        });
    }
}
