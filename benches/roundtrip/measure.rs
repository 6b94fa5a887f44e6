//! What one measurement says.

#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Error;

/// The outcome of one closed loop, as the asking process writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Processor time of the asking process.
    pub(crate) cpu_us_per_request: f64,
}

impl Measurement {
    /// From round-trip times in nanoseconds.
    pub(crate) fn new(times: &Histogram<u64>, elapsed: Duration, cpu: Duration) -> Self {
        let micros = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        let requests = times.len();
        Self {
            requests,
            seconds: elapsed.as_secs_f64(),
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            p999_us: micros(0.999),
            cpu_us_per_request: cpu.as_secs_f64() * 1e6 / requests.max(1) as f64,
        }
    }
}

/// Processor time that this process has used, in hundredths of a second (Linux).
pub(crate) fn cpu_time() -> Result<Duration, Error> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // utime and stime are fields 14 and 15, and the state behind the name is field 3.
    let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
