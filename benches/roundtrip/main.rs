//! Round trips: how many, how long they take, and what they cost.
//!
//! Requester and responder are processes of their own, started anew for each measurement, and the
//! candidates take turns within a round, so that a slow moment of the machine hits all of them. See
//! `benches/README.md`.

mod candidates;
mod load;
mod plot;
mod process;
mod programs;
mod responder;
mod results;
#[cfg(all(feature = "auth", feature = "metrics"))]
mod stack;
mod table;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use closed_loop::Error;

#[cfg(feature = "tls")]
#[path = "../../tests/support/certificates.rs"]
mod certificates;

use self::candidates::Candidate;
use self::process::Load;
use self::programs::Programs;
use self::results::{Block, Results, Row};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Measurements of each candidate; the median is shown.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement, after a third of that as warm-up.
    #[arg(long, default_value_t = 1.2)]
    seconds: f64,
    /// Calls in flight at once, and bytes of the payload both ways after an `x`: 64 if not given.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256,1024,64x4096")]
    loads: Vec<Load>,
    /// Only candidates whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// A table in a minute: one short round with 1 and with 64 in flight.
    #[arg(long)]
    quick: bool,
    /// Where `roundtrip.json` and `roundtrip.svg` are written.
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    results: PathBuf,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a process started by this one does.
#[derive(Subcommand)]
enum Role {
    /// Answers until its standard input closes.
    Respond(responder::Options),
    /// Asks for a while and writes a measurement as JSON.
    Ask(load::Options),
}

/// On both sides.
#[derive(Args, Clone, Copy)]
struct Layers {
    /// Timeout, retry, authorize (bearer), trace and metrics.
    #[arg(long)]
    layers: bool,
    /// Record the spans, and write them nowhere.
    #[arg(long)]
    spans: bool,
}

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.role {
        Some(Role::Respond(options)) => run(responder::respond(options)),
        Some(Role::Ask(options)) => run(load::ask(options)),
        None => compare(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every role has one thread for its own work, and the connection another.
fn run(role: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    if std::env::args().any(|argument| argument == "--spans") {
        tracing::subscriber::set_global_default(tracing_subscriber::registry())?;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(role)
}

fn compare(mut arguments: Arguments) -> Result<(), Error> {
    if arguments.quick {
        arguments.rounds = 1;
        arguments.seconds = 0.5;
        arguments
            .loads
            .retain(|load| [(1, 64), (64, 64)].contains(&(load.in_flight, load.payload)));
    }
    let mut candidates = candidates::all();
    let only = &arguments.only;
    candidates.retain(|c| only.is_empty() || only.iter().any(|part| c.name.contains(part)));
    let programs = Programs::build(&candidates)?;
    candidates.retain(|candidate| programs.can_run(candidate));

    let window = Duration::try_from_secs_f64(arguments.seconds)?;
    let mut results = Results::new(arguments.rounds, arguments.seconds);
    for load in &arguments.loads {
        let block = measure(&candidates, &programs, load, window, arguments.rounds);
        println!("{}", table::render(&block, arguments.rounds));
        results.blocks.push(block);
        // After each, so that an interrupted run leaves what it has.
        results.write(&arguments.results)?;
    }
    println!("{}", targets::render(&results));
    println!("written to {}", arguments.results.display());
    Ok(())
}

fn measure(
    candidates: &[Candidate],
    programs: &Programs,
    load: &Load,
    window: Duration,
    rounds: usize,
) -> Block {
    let mut rows: Vec<Row> = candidates.iter().map(Row::new).collect();
    for round in 1..=rounds {
        eprintln!("{load}, round {round} of {rounds}");
        for (candidate, row) in candidates.iter().zip(&mut rows) {
            match process::measure(candidate, programs, load, window) {
                Ok(measurement) => row.measurements.push(Some(measurement)),
                Err(error) => {
                    eprintln!("{}: {error}", candidate.name);
                    row.measurements.push(None);
                }
            }
        }
    }
    for (candidate, row) in candidates.iter().zip(&mut rows) {
        row.allocations = process::allocations(candidate, programs, load, window);
    }
    Block { in_flight: load.in_flight, payload: load.payload, rows }
}
