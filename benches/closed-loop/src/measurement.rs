//! What one measurement says.

#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::process::{self, Snapshot};

/// The outcome of one closed loop, as the asking process writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// Answered within the window.
    pub requests: u64,
    /// The window.
    pub seconds: f64,
    /// Half of the calls took at most this many microseconds.
    pub p50_us: f64,
    /// The same for 99 of 100.
    pub p99_us: f64,
    /// The same for 999 of 1,000.
    pub p999_us: f64,
    /// The asking process.
    pub requester: Usage,
    /// The answering process, unless it is the asking one.
    pub responder: Option<Usage>,
    /// What is between, if anything is.
    pub broker: Option<Usage>,
    /// Allocations and reallocations of the asking process, if its allocator counts.
    pub allocations_per_request: Option<f64>,
}

/// What a process used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time in the window, in microseconds, divided by the requests.
    pub cpu_us_per_request: f64,
    /// The most resident memory that it ever had, in KiB.
    pub peak_kib: u64,
}

impl Measurement {
    /// From round-trip times in nanoseconds.
    pub(crate) fn new(times: &Histogram<u64>, before: &Snapshot, after: &Snapshot) -> Self {
        let micros = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        let count = times.len().max(1) as f64;
        let usage = |before: &process::Process, after: &process::Process| Usage {
            cpu_us_per_request: after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / count,
            peak_kib: after.peak_kib,
        };
        let both = |before: &Option<_>, after: &Option<_>| {
            before.as_ref().zip(after.as_ref()).map(|(before, after)| usage(before, after))
        };
        let allocations = after.allocations - before.allocations;
        Self {
            requests: times.len(),
            seconds: (after.time - before.time).as_secs_f64(),
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            p999_us: micros(0.999),
            requester: usage(&before.requester, &after.requester),
            responder: both(&before.responder, &after.responder),
            broker: both(&before.broker, &after.broker),
            allocations_per_request: (allocations > 0).then(|| allocations as f64 / count),
        }
    }
}
