//! Calls a device in the dialect that it speaks, and prints its answers.
//!
//! ```text
//! cargo run --example device -- --dialect tencent --product KL4J2TEST1 --device lamp &
//! cargo run --example call -- --dialect tencent --product KL4J2TEST1 --device lamp --payload '{"on":true}'
//! ```
//!
//! Each answer's payload is a line on stdout. What went wrong is `error: KIND: text` on stderr: the
//! [kind](RequestError::kind) of the error, or `status` when the device said that it failed. The exit
//! code is 0 when every call was answered with success, 1 when one was not, and 2 when the options
//! contradict each other.
//!
//! Only [`Peer::dialect`] knows that there are dialects. The rest is the same for all of them.

#[path = "rrpc/dialect.rs"]
mod dialect;
#[path = "rrpc/peer.rs"]
mod peer;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use futures_util::{StreamExt, stream};
use tower::ServiceExt;
use tower_mqtt::{Client, Request, RequestError, Requester, Response, TopicName};

use self::peer::Peer;

/// Calls a device and prints its answers.
#[derive(Debug, Parser)]
#[command(name = "call")]
struct Args {
    #[command(flatten)]
    peer: Peer,
    /// What is asked; an empty JSON object by default, as some devices read nothing but JSON
    #[arg(long, value_name = "TEXT", default_value = "{}")]
    payload: String,
    /// How long a call waits for its answer, for instance 4s or 500ms; the dialect's own by default
    #[arg(long, value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// How many calls are made
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// How many calls are in flight at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let address = args.peer.address().unwrap_or_else(|what| {
        Args::command().error(ErrorKind::ArgumentConflict, format!("usage: {what}")).exit();
    });
    match run(&args, address).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all calls were answered with success.
async fn run(args: &Args, address: TopicName) -> Result<bool, Box<dyn Error>> {
    let link = Client::connect(&args.peer.broker).await.map_err(|e| format!("connect: {e}"))?;
    // It asks nobody else, so it need not see the answers of other devices.
    let builder = Requester::builder(link).dialect(args.peer.dialect());
    let builder = builder.peers(address.clone().into());
    let requester = builder.build().await.map_err(|e| format!("subscribe: {e}"))?;

    let mut request = Request::to(address, args.payload.clone());
    request.parts_mut().timeout = args.timeout;
    let calls = (0..args.count).map(|_| requester.clone().oneshot(request.clone()));
    let mut outcomes = stream::iter(calls).buffer_unordered(args.concurrency.into());

    let mut all_well = true;
    while let Some(outcome) = outcomes.next().await {
        match payload(outcome) {
            Ok(payload) => print(&payload).map_err(|e| format!("stdout: {e}"))?,
            Err(what) => {
                // One line, whatever a device has written into its status.
                eprintln!("error: {}", what.replace(char::is_control, " "));
                all_well = false;
            }
        }
    }
    Ok(all_well)
}

/// What a successful answer says, or `KIND: text`.
fn payload(outcome: Result<Response, RequestError>) -> Result<bytes::Bytes, String> {
    let response = outcome.map_err(|error| format!("{}: {error}", error.kind()))?;
    let response = response.error_for_status().map_err(|status| format!("status: {status}"))?;
    Ok(response.into_payload())
}

/// A line, byte for byte: an answer need not be text.
fn print(payload: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(payload)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}
