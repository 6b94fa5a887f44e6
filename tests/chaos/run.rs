//! One seed after the other, and what this process must look like in between.

use std::alloc::System;
use std::panic;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use super::broker::Kind;
use super::process::{Resources, thread_names};
use super::resident::resident;
use super::world::{self, Outcome, becomes};

/// The seeds of a run that names none.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=6;

/// For how long there are faults. With the time until everybody is back it is twice as much.
const LENGTH: Duration = Duration::from_secs(6);

/// Rounds until memory is what it will be.
const WARM_UP: usize = 3;

/// How much more may be allocated later: a round leaves nothing, so this is for what libraries keep
/// to use it again.
const SLACK: usize = 256 * 1024;

/// Memory of the process. It says little: threads come and go, and the pools that the allocator has
/// for each of them fray.
const RESIDENT_KIB: usize = 512 * 1024;

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

pub(crate) struct Run {
    panics: Arc<AtomicUsize>,
    rounds: usize,
    calls: usize,
    faults: u64,
    violations: usize,
    /// The most after one of the first rounds.
    allocated: usize,
}

impl Run {
    /// Counts panics from now on, on whatever thread.
    pub(crate) fn new() -> Self {
        let panics = Arc::new(AtomicUsize::new(0));
        let (count, report) = (Arc::clone(&panics), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            count.fetch_add(1, Ordering::Relaxed);
            report(info);
        }));
        Self { panics, rounds: 0, calls: 0, faults: 0, violations: 0, allocated: 0 }
    }

    pub(crate) async fn all(mut self, seed: Option<u64>, seconds: Option<u64>) -> ExitCode {
        let begin = Instant::now();
        // So that what is made once and kept is there before anything is counted.
        self.both(0, Duration::ZERO).await;
        let before = Resources::settled().await;
        let first = seed.unwrap_or(*SEEDS.start());
        let last = seed.unwrap_or(*SEEDS.end());
        for seed in first.. {
            let enough = match seconds {
                Some(seconds) => begin.elapsed() >= Duration::from_secs(seconds),
                None => seed > last,
            };
            if enough {
                break;
            }
            self.round(seed, before).await;
        }
        let Self { calls, faults, violations, .. } = self;
        println!("calls {calls} faults {faults} violations {violations}");
        if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn round(&mut self, seed: u64, before: Resources) {
        let begin = Instant::now();
        let mut violations = self.both(seed, LENGTH).await;
        // A thread that was joined is shown for a moment longer.
        if !becomes(|| Resources::now().within(before)).await {
            let (now, threads) = (Resources::now(), thread_names());
            violations.push(format!("there were {before:?}, now there are {now:?}: {threads:?}"));
        }
        self.rounds += 1;
        let (allocated, resident) = (allocated(), resident() / 1024);
        if self.rounds <= WARM_UP {
            self.allocated = self.allocated.max(allocated);
        } else if allocated > self.allocated + SLACK {
            let before = self.allocated;
            violations.push(format!("{before} bytes were allocated, now {allocated} are"));
        }
        if resident > RESIDENT_KIB {
            violations.push(format!("the process takes {resident} KiB"));
        }
        let (elapsed, resources) = (begin.elapsed(), Resources::now());
        let Resources { threads, descriptors } = resources;
        println!(
            "seed {seed}: {elapsed:.1?}, {threads} threads, {descriptors} descriptors, \
             {allocated} bytes allocated, {resident} KiB resident"
        );
        if violations.is_empty() {
            return;
        }
        self.violations += violations.len();
        for violation in &violations {
            println!("violation: {violation}");
        }
        println!(
            "again: cargo test --release --all-features --test chaos -- --seed {seed}  \
             (this was round {})",
            self.rounds
        );
    }

    /// Both kinds of brokers at once.
    async fn both(&mut self, seed: u64, length: Duration) -> Vec<String> {
        let workers = if seed.is_multiple_of(2) { 1 } else { 2 };
        let (through_mosquitto, through_hub) = tokio::join!(
            world::run(Kind::Mosquitto, seed, length),
            world::run(Kind::Hub(workers), seed, length),
        );
        let mut violations = Vec::new();
        for Outcome { calls, faults, violations: wrong, summary } in
            [through_mosquitto, through_hub]
        {
            self.calls += calls;
            self.faults += faults;
            violations.extend(wrong);
            if length > Duration::ZERO {
                print!("{summary}");
            }
        }
        let panics = self.panics.swap(0, Ordering::Relaxed);
        if panics > 0 {
            violations.push(format!("{panics} panics"));
        }
        violations
    }
}
