//! Round trips: how many, how long they take, and what they cost.
//!
//! Requester and responder are processes of their own, started anew for each measurement, and the
//! candidates take turns within a round, so that a slow moment of the machine hits all of them. See
//! `benches/README.md`.

mod load;
mod measure;
mod process;
mod responder;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::measure::Measurement;
use self::process::Candidate;

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
    /// Calls in flight at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256])]
    in_flight: Vec<usize>,
    /// Bytes of a payload, both ways.
    #[arg(long, default_value_t = 64)]
    payload: usize,
    /// Only candidates whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.role {
        Some(Role::Respond(options)) => run(responder::respond(options)),
        Some(Role::Ask(options)) => run(load::ask(options)),
        None => compare(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Every role has one thread for its own work, and the connection another.
fn run(role: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(role)
}

fn compare(arguments: &Arguments) -> Result<(), Error> {
    let candidates: Vec<Candidate> =
        process::candidates()?.into_iter().filter(|c| c.name.contains(&arguments.only)).collect();
    let window = Duration::try_from_secs_f64(arguments.seconds)?;
    for &in_flight in &arguments.in_flight {
        let load = process::Load { in_flight, payload: arguments.payload, window };
        let mut results: Vec<Vec<Measurement>> = vec![Vec::new(); candidates.len()];
        for _ in 0..arguments.rounds {
            for (candidate, results) in candidates.iter().zip(&mut results) {
                results.push(candidate.measure(&load)?);
            }
        }
        let names = candidates.iter().map(|candidate| candidate.name);
        println!("\n{in_flight} in flight, {} B, {} rounds\n", load.payload, arguments.rounds);
        print!("{}", table::render(names.zip(&results)));
    }
    Ok(())
}
