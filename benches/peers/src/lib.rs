//! What the programs of the peers share: their commands. See `closed_loop`.

use clap::{Args, Parser};
pub use closed_loop::{Ask, Error, Laps, Load, measure, measure_callers};
use tokio::io::AsyncReadExt;

/// What the program does.
#[derive(Debug, Parser)]
pub enum Role {
    /// Answers until its standard input closes.
    Respond(Respond),
    /// Asks for a while and writes a measurement as JSON.
    Ask(Load),
}

/// Options of `respond`.
#[derive(Debug, Args)]
pub struct Respond {
    /// The broker; without it, callers connect directly.
    #[arg(long)]
    pub broker: Option<String>,
}

impl Respond {
    /// For a peer that cannot do without.
    ///
    /// # Errors
    /// There is none.
    pub fn broker(self) -> Result<String, Error> {
        self.broker.ok_or_else(|| "a broker is needed".into())
    }
}

/// Plays a role on one thread, as all peers do.
///
/// # Errors
/// As the role.
pub fn run(
    respond: impl AsyncFnOnce(Respond) -> Result<(), Error>,
    ask: impl AsyncFnOnce(Load) -> Result<(), Error>,
) -> Result<(), Error> {
    let role = Role::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match role {
            Role::Respond(options) => respond(options).await,
            Role::Ask(load) => ask(load).await,
        }
    })
}

/// Says where to ask, and waits until the parent closes our standard input.
///
/// # Errors
/// Standard input cannot be read.
pub async fn serve_at(address: &str) -> Result<(), Error> {
    println!("{address}");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// Host and port of `mqtt://host:port`.
///
/// # Errors
/// It is none.
pub fn host_and_port(address: &str) -> Result<(&str, u16), Error> {
    let (host, port) = address
        .trim_start_matches("mqtt://")
        .rsplit_once(':')
        .ok_or("an address without a port")?;
    Ok((host, port.parse()?))
}
