//! A device that answers in the dialect of its vendor. The handler does not know in which.
//!
//! ```text
//! cargo run --example device -- --dialect aliyun-custom --product a1testPK001 --device lamp
//! ```
//!
//! It prints `ready` when it can be asked, and then a line for each request: the address and the
//! payload. Ctrl-C stops it; what is being answered is finished first. It takes the options of `call`.

#[path = "rrpc/dialect.rs"]
mod dialect;
#[path = "rrpc/peer.rs"]
mod peer;
#[path = "recipe_server/stop.rs"]
mod stop;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use tokio::sync::Semaphore;
use tower_mqtt::layer::TimeoutLayer;
use tower_mqtt::link::ClientBuilder;
use tower_mqtt::responder::extract::State;
use tower_mqtt::{Client, Link, Request, Responder, Router, Status, TopicName};

use self::dialect::DialectName;
use self::peer::Peer;

/// How long answers may take to finish after Ctrl-C.
const GRACE: Duration = Duration::from_secs(1);

/// Answers calls, as a device of the dialect's vendor would.
#[derive(Debug, Parser)]
#[command(name = "device")]
struct Args {
    #[command(flatten)]
    peer: Peer,
    /// What becomes of a request
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    mode: Mode,
    /// Answer as if this had been asked
    #[arg(long, value_name = "TEXT")]
    payload: Option<String>,
    /// How long an answer may take until the caller is told 408; as long as the caller waits by default
    #[arg(long, value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Stop after so many requests
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// How many requests are answered at once; to others it says 503
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The same comes back
    Echo,
    /// It comes back in capitals
    Upper,
    /// There is no answer
    Silent,
    /// The answer is 500, which is silence in a dialect that has no status
    Fail,
}

/// What the handler needs.
#[derive(Debug, Clone)]
struct Device {
    mode: Mode,
    payload: Option<Bytes>,
    /// A permit for each request that came.
    received: Arc<Semaphore>,
}

/// The handler of every dialect.
async fn answer(State(device): State<Device>, request: Request) -> Result<Bytes, Status> {
    print(&request).map_err(|_| Status::INTERNAL)?;
    device.received.add_permits(1);
    let payload = device.payload.unwrap_or_else(|| request.payload().clone());
    match device.mode {
        Mode::Echo => Ok(payload),
        Mode::Upper => Ok(payload.to_ascii_uppercase().into()),
        Mode::Silent => std::future::pending().await,
        Mode::Fail => Err(Status::INTERNAL.with_message("the device was told to fail")),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let address = args.peer.address().unwrap_or_else(|what| {
        Args::command().error(ErrorKind::ArgumentConflict, format!("usage: {what}")).exit();
    });
    match run(&args, &address).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args, address: &TopicName) -> Result<(), Box<dyn Error>> {
    let stop = stop::stop_signal()?;
    let link = client(&args.peer).connect().await.map_err(|e| format!("connect: {e}"))?;

    let received = Arc::new(Semaphore::new(0));
    let payload = args.payload.clone().map(Bytes::from);
    let device = Device { mode: args.mode, payload, received: Arc::clone(&received) };
    let mut router = Router::new().route(address.as_str(), answer).with_state(device);
    if let Some(timeout) = args.timeout {
        router = router.layer(TimeoutLayer::new(timeout));
    }
    let builder = Responder::builder(link.clone()).dialect(args.peer.dialect());
    let responder = builder.concurrency(args.concurrency.into()).serve(router).await;
    let responder = responder.map_err(|error| format!("subscribe: {error}"))?;

    println!("ready");
    let outcome = tokio::select! {
        () = stop => Ok(()),
        () = enough(&received, args.count) => Ok(()),
        () = closed(&link) => Err("the connection is closed for good".into()),
    };
    responder.shutdown(GRACE).await;
    link.close();
    outcome
}

/// The device as it is known to a hub: by the client identifier and the user name of its vendor. The
/// password is the broker's business, and stands in its address.
fn client(peer: &Peer) -> ClientBuilder {
    let client = Client::builder(&peer.broker);
    let (Some(product), Some(device)) = (&peer.product, &peer.device) else { return client };
    match peer.dialect {
        DialectName::Native => client.client_id(format!("{product}/{device}")),
        DialectName::Tencent => client.client_id(format!("{product}{device}")),
        DialectName::AliyunSystem | DialectName::AliyunCustom | DialectName::AliyunService => {
            // Without it, a device has nothing but the system topics.
            let ext = peer.ext.unwrap_or(u8::from(peer.dialect != DialectName::AliyunSystem));
            let method = format!("securemode=3,signmethod=hmacsha1,ext={ext}");
            let client = client.client_id(format!("{product}&{device}|{method}|"));
            if peer.broker.contains('@') {
                return client; // It has a user name.
            }
            client.credentials(format!("{device}&{product}"), "")
        }
    }
}

/// Resolves when so many requests came; never without a number.
async fn enough(received: &Semaphore, count: Option<u32>) {
    match count {
        Some(count) => drop(received.acquire_many(count).await),
        None => std::future::pending().await,
    }
}

/// Resolves when the link will not come up again.
async fn closed(link: &Link) {
    while link.connected().await {
        link.disconnected().await;
    }
}

/// A line, byte for byte: a payload need not be text.
fn print(request: &Request) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    write!(stdout, "{} ", request.topic())?;
    stdout.write_all(request.payload())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}
