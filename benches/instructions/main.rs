//! How many instructions the path of a request takes, and whether it has become more. See
//! `benches/README.md`.

mod cases;
mod guard;

#[path = "../micro/flight.rs"]
mod flight;
#[path = "../micro/memory.rs"]
mod memory;
#[path = "../micro/topics.rs"]
mod topics;
#[path = "../micro/wire.rs"]
mod wire;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The guard starts this program again to count, and so does the runner for each case.
    if env::var_os(guard::COUNTING).is_some() || env::args().nth(1).as_deref() == Some(guard::CASE)
    {
        cases::run();
        return ExitCode::SUCCESS;
    }
    guard::run(env::args().any(|argument| argument == "--accept"))
}
