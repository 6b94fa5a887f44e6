//! Lets callers of one dialect call devices of another, beside any broker.
//!
//! ```text
//! cargo run --example device -- --dialect tencent --product KL4J2TEST1 --device lamp &
//! cargo run --example bridge -- --from native --to tencent &
//! cargo run --example call -- --dialect native --topic devices/KL4J2TEST1/lamp --payload on
//! ```
//!
//! It prints `ready`, with what is answered and what is asked, and runs until Ctrl-C; what is under
//! way then is finished first.

#[path = "rrpc/dialect.rs"]
mod dialect;
#[path = "recipe_server/stop.rs"]
mod stop;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tower_mqtt::bridge::Bridge;
use tower_mqtt::requester::OneInFlight;
use tower_mqtt::{Client, Requester, Responder};

use self::dialect::DialectName;

/// How long requests may take to finish after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);

/// Answers calls in one dialect by calling devices in another.
#[derive(Debug, Parser)]
#[command(name = "bridge")]
struct Args {
    /// The broker or hub with callers and devices
    #[arg(long, value_name = "mqtt://HOST:PORT", default_value = "mqtt://127.0.0.1:1883")]
    broker: String,
    /// What the callers speak
    #[arg(long, value_enum, value_name = "DIALECT")]
    from: DialectName,
    /// What the devices speak
    #[arg(long, value_enum, value_name = "DIALECT")]
    to: DialectName,
    /// Where callers ask, instead of the usual address of their dialect: a template with {product} and
    /// {device}
    #[arg(long, value_name = "TEMPLATE")]
    from_topic: Option<String>,
    /// Where devices are asked, instead of the usual address of their dialect
    #[arg(long, value_name = "TEMPLATE")]
    to_topic: Option<String>,
    /// One call at a time for each device, for firmware that mixes up overlapping ones
    #[arg(long)]
    one_in_flight: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    if args.from == args.to {
        return Err("a bridge on one broker joins two dialects, or it would answer itself".into());
    }
    let stop = stop::stop_signal()?;
    let from = args.from_topic.as_deref().unwrap_or(address(args.from));
    let to = args.to_topic.as_deref().unwrap_or(address(args.to));

    let link = Client::connect(&args.broker).await.map_err(|e| format!("connect: {e}"))?;
    let mut requester = Requester::builder(link.clone()).dialect(args.to.dialect());
    if args.one_in_flight {
        requester = requester.one_in_flight(OneInFlight::PerDevice);
    }
    let requester = requester.build().await.map_err(|e| format!("subscribe: {e}"))?;
    let responder = Responder::builder(link.clone()).dialect(args.from.dialect());
    let bridge = Bridge::new(requester).route(from, to)?.serve(responder).await;
    let bridge = bridge.map_err(|error| format!("subscribe: {error}"))?;

    println!("ready: {from} ({:?}) asks {to} ({:?})", args.from, args.to);
    stop.await;
    bridge.shutdown(GRACE).await;
    link.close();
    Ok(())
}

/// Where a device is asked when nobody says otherwise. The native one is not `{product}/{device}`: that
/// would be every topic of two levels.
fn address(dialect: DialectName) -> &'static str {
    match dialect {
        DialectName::Native => "devices/{product}/{device}",
        DialectName::AliyunSystem | DialectName::Tencent => "{product}/{device}",
        DialectName::AliyunCustom => "{product}/{device}/user/get",
        DialectName::AliyunService => "{product}/{device}/echo",
    }
}
