//! What a requester counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a [`Requester`](super::Requester) has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RequesterStats {
    /// Slots that are taken: by calls without an outcome, and by handles that are ready to call.
    pub in_flight: usize,
    /// Calls that got a response.
    pub answered: u64,
    /// Answers that came after their call had timed out or was given up.
    pub late: u64,
    /// Answers to calls that were answered already.
    pub duplicate: u64,
    /// Answers to nothing that this requester asked.
    pub unknown: u64,
    /// Answers that the dialect could not read.
    pub malformed: u64,
    /// Requests to which more than a handful of answers came that nobody waited for, in a dialect
    /// whose answers go to the topic of the request. It is a device that hears its own answers and
    /// answers them, without end: one that speaks MQTT 3.1.1, on a broker that knows no No Local for
    /// it. Each is reported once in the log, with its topic.
    pub loops: u64,
}

#[cfg(feature = "metrics")]
impl RequesterStats {
    /// Hands `late`, `duplicate`, `unknown` and `malformed` over to the installed recorder, as the
    /// counter `tower_mqtt_answers_dropped_total` with the label `reason`, and `loops` as
    /// `tower_mqtt_answer_loops_total`. Call it from time to time,
    /// for one requester of a process and its clones: of several, the counter would show the largest
    /// number, not the sum. [`layer::metrics`](crate::layer::metrics#late-answers) has an example.
    pub fn record_metrics(&self) {
        for (reason, count) in [
            ("late", self.late),
            ("duplicate", self.duplicate),
            ("unknown", self.unknown),
            ("malformed", self.malformed),
        ] {
            metrics::counter!("tower_mqtt_answers_dropped_total", "reason" => reason)
                .absolute(count);
        }
        metrics::counter!("tower_mqtt_answer_loops_total").absolute(self.loops);
    }
}

/// Written by the connection, read by anyone.
#[derive(Debug, Default)]
pub(super) struct Counters {
    serial: AtomicU64,
    pub(super) answered: Counter,
    pub(super) late: Counter,
    pub(super) duplicate: Counter,
    pub(super) unknown: Counter,
    pub(super) malformed: Counter,
    pub(super) loops: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// Tells the waiters of one exchange apart.
    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn read(&self, in_flight: usize) -> RequesterStats {
        RequesterStats {
            in_flight,
            answered: self.answered.get(),
            late: self.late.get(),
            duplicate: self.duplicate.get(),
            unknown: self.unknown.get(),
            malformed: self.malformed.get(),
            loops: self.loops.get(),
        }
    }
}
