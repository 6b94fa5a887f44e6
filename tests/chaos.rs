//! Requesters and responders over a mosquitto and over the hub, while a schedule that one seed
//! decides kills, freezes, cuts, delays and doubles what is between them. Afterwards everything that
//! happened is checked against the crate's promises.
//!
//! ```text
//! cargo test --release --all-features --test chaos -- --seconds 3600 --seed 7
//! ```
//!
//! Without arguments it runs a few seeds, for about a minute. What is decided follows from the seed;
//! when exactly it happens, from the machine: so a seed that fails may have to run several times.
#![cfg(target_os = "linux")]

#[path = "chaos/broker.rs"]
mod broker;
#[path = "chaos/caller.rs"]
mod caller;
#[path = "chaos/child.rs"]
mod child;
#[path = "support/harness.rs"]
mod harness;
#[path = "chaos/history.rs"]
mod history;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "chaos/options.rs"]
mod options;
#[path = "chaos/pairs.rs"]
mod pairs;
#[path = "chaos/process.rs"]
mod process;
#[path = "chaos/question.rs"]
mod question;
#[path = "chaos/random.rs"]
mod random;
#[path = "support/resident.rs"]
mod resident;
#[path = "chaos/run.rs"]
mod run;
#[path = "chaos/schedule.rs"]
mod schedule;
#[path = "chaos/station.rs"]
mod station;
#[path = "chaos/weather.rs"]
mod weather;
#[path = "chaos/world.rs"]
mod world;

use std::process::ExitCode;

use clap::Parser;

use self::options::Options;
use self::run::Run;

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let options = Options::parse();
    if let Some((pair, address)) = options.child() {
        child::serve(&pair, address).await;
        return ExitCode::SUCCESS;
    }
    if !options.harness.runs("chaos") {
        return ExitCode::SUCCESS;
    }
    history::check_the_checker();
    Run::new().all(options.seed, options.seconds).await
}
