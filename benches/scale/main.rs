//! How time and memory grow: with devices on the hub, with calls in flight, with answers that are
//! remembered, and not at all with calls that came to nothing. See `benches/README.md`.

mod devices;
mod flight;
mod losses;
mod memory;
mod process;
mod targets;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use closed_loop::Error;

use self::targets::Targets;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Devices on the hub.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 19_000])]
    devices: Vec<usize>,
    /// Calls in flight of one requester.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000, 100_000])]
    in_flight: Vec<usize>,
    /// Calls that time out or are cancelled.
    #[arg(long, default_value_t = 1_000_000)]
    lost: usize,
    /// Answers that a responder remembers.
    #[arg(long, default_value_t = 100_000)]
    remembered: usize,
    /// Only the part whose name contains this: devices, flight, losses, memory.
    #[arg(long, default_value = "")]
    only: String,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a process started by this one does.
#[derive(Subcommand)]
enum Role {
    /// Is a hub that is told by its standard input what to do.
    Hub,
    /// Answers in its own hub until its standard input closes.
    Respond,
    /// Asks for a while.
    Ask(closed_loop::Load),
    /// Makes calls that come to nothing.
    Lose(losses::Options),
    /// Lets a responder remember.
    Remember(memory::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.role {
        Some(Role::Hub) => run(devices::hub()),
        Some(Role::Respond) => run(flight::respond()),
        Some(Role::Ask(load)) => run(flight::ask(load)),
        Some(Role::Lose(options)) => run(losses::lose(options)),
        Some(Role::Remember(options)) => run(memory::remember(options)),
        None => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(role: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(role)
}

type Part<'a> = &'a dyn Fn(&mut Targets) -> Result<(), Error>;

/// A part that fails leaves the others.
fn measure(arguments: &Arguments) -> Result<(), Error> {
    let parts: [(&str, Part<'_>); 4] = [
        ("devices", &|targets| devices::measure(&arguments.devices, targets)),
        ("flight", &|targets| flight::measure(&arguments.in_flight, targets)),
        ("losses", &|_| losses::measure(arguments.lost)),
        ("memory", &|targets| memory::measure(arguments.remembered, targets)),
    ];
    let mut targets = Targets::default();
    let mut failed = false;
    for (name, part) in parts {
        if name.contains(&arguments.only)
            && let Err(error) = part(&mut targets)
        {
            eprintln!("{name}: {error}");
            failed = true;
        }
    }
    targets.print();
    if failed { Err("not everything was measured".into()) } else { Ok(()) }
}
