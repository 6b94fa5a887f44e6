//! Deterministic simulation: requesters and responders of every dialect over a network that loses,
//! delays, repeats and cuts, with somebody who forges messages on it; time is virtual, and one seed
//! decides everything that happens. Each schedule is checked for what the crate promises.
//!
//! ```text
//! cargo test --release --all-features --test simulation -- --schedules 1000000
//! cargo test --all-features --test simulation -- --seed 42
//! ```
//!
//! The last line says `schedules N calls N violations N`. A schedule that breaks a promise is named
//! by its seed, and made smaller.

#![allow(unreachable_pub, reason = "modules of one test")]

#[path = "simulation/ask.rs"]
mod ask;
#[path = "simulation/check.rs"]
mod check;
#[path = "simulation/forge.rs"]
mod forge;
#[path = "support/harness.rs"]
mod harness;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/record.rs"]
mod record;
#[path = "simulation/shrink.rs"]
mod shrink;
#[path = "simulation/speaks.rs"]
mod speaks;
#[path = "simulation/tally.rs"]
mod tally;
#[path = "support/verbatim.rs"]
mod verbatim;
#[path = "simulation/world.rs"]
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::harness::Harness;
use crate::plan::Plan;
use crate::record::Record;
use crate::tally::Tally;
use crate::world::Planned;

#[derive(Parser)]
struct Arguments {
    /// How many schedules to play.
    #[arg(long, default_value_t = 2000)]
    schedules: u64,
    /// The seed of the first; the next ones have the numbers after it.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Plays the schedule of this seed only, and tells what happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Goes on after so many that break a promise.
    #[arg(long, default_value_t = 10)]
    failures: u64,
    #[command(flatten)]
    harness: Harness,
}

/// How many schedules are played twice, to see that a seed decides everything.
const TWICE: u64 = 200;

fn main() -> ExitCode {
    let Arguments { schedules, from, seed, failures, harness } = Arguments::parse();
    if !harness.runs("simulation") {
        return ExitCode::SUCCESS;
    }
    hide_planned_panics();
    let mut tally = Tally::default();
    if let Some(seed) = seed {
        tell(seed, &mut tally);
    } else {
        for seed in from..from.saturating_add(schedules) {
            let record = play(Plan::new(seed), seed < from + TWICE);
            if seed < from + TWICE && record.take_lines() != traced(Plan::new(seed)) {
                record.violation("played again, it went otherwise".to_owned());
            }
            let violations = record.lock().violations.clone();
            if !violations.is_empty() {
                report(seed, &violations);
            }
            tally.add(&record);
            if tally.failed >= failures {
                println!("enough");
                break;
            }
        }
    }
    tally.print();
    if tally.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays a schedule and checks it.
fn play(plan: Plan, traced: bool) -> Arc<Record> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let record = Arc::new(Record::new(plan, traced));
        world::play(&record).await;
        check::check(&record);
        record
    })
}

fn violations(plan: &Plan) -> Vec<String> {
    play(plan.clone(), false).violations()
}

fn traced(plan: Plan) -> Vec<String> {
    play(plan, true).take_lines()
}

fn report(seed: u64, violations: &[String]) {
    println!("seed {seed}:");
    for violation in violations {
        println!("  {violation}");
    }
    println!("  cargo test --all-features --test simulation -- --seed {seed}");
}

fn tell(seed: u64, tally: &mut Tally) {
    let plan = Plan::new(seed);
    println!("{plan:#?}");
    let record = play(plan.clone(), true);
    for line in record.take_lines() {
        println!("{line}");
    }
    tally.add(&record);
    let violations = record.lock().violations.clone();
    if violations.is_empty() {
        return;
    }
    report(seed, &violations);
    println!("smaller:");
    let smaller = shrink::shrink(plan);
    println!("{smaller:#?}");
    for line in traced(smaller) {
        println!("{line}");
    }
}

fn hide_planned_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Planned>() {
            hook(info);
        }
    }));
}
