//! What the parts of a request's path cost, each alone. See `benches/README.md`.

mod cpu_time;
mod dialect;
mod exchange;
mod flight;
mod inbox;
mod index;
mod layer;
mod memory;
mod stack;
mod template;
mod topics;
mod wire;

use std::time::Duration;

use self::cpu_time::{CpuTime, Criterion};

fn main() {
    // A part takes microseconds at most, so a short window has many thousands of them.
    let mut criterion: Criterion = criterion::Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(20)
        .with_measurement(CpuTime)
        .configure_from_args();
    index::benchmarks(&mut criterion);
    template::benchmarks(&mut criterion);
    exchange::benchmarks(&mut criterion);
    inbox::benchmarks(&mut criterion);
    dialect::benchmarks(&mut criterion);
    layer::benchmarks(&mut criterion);
    stack::benchmarks(&mut criterion);
    criterion.final_summary();
}
