//! The server over real connections, with calls that a test has in its hand.

mod api;
mod calls;
#[path = "../../../../tests/support/certificates.rs"]
mod certificates;
mod client;
mod connections;
mod console;
mod openapi;
mod recorded;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, Semaphore, mpsc};
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use self::client::Client;
use super::server::{Patience, Server};
use super::{Front, HubFigures};
use crate::gateway::call::{Answer, Call, CallError, DeviceState, Failure, InFlight, Publication};
use crate::gateway::config::{self, AccessKey, Dialect, Product};
use crate::gateway::ended::EndedCalls;
use crate::gateway::keys::Keys;
use crate::gateway::listing::Listed;
use crate::gateway::products::Products;
use crate::gateway::replay::Replay;
use crate::hub::HubStats;
use crate::message::Status;

/// Of a test that would otherwise hang.
const LIMIT: Duration = Duration::from_secs(30);
const BODY: usize = 1000;

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it comes")
}

/// Devices that do what their names say.
struct Devices {
    /// How many calls to `gate` are let through.
    gate: Semaphore,
    started: mpsc::UnboundedSender<Call>,
    ended: mpsc::UnboundedSender<()>,
}

struct Ends(mpsc::UnboundedSender<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Devices {
    async fn call(self: Arc<Self>, call: Call) -> Result<Answer, Failure> {
        let _ends = Ends(self.ended.clone());
        let _ = self.started.send(call.clone());
        let Call { device, payload, content_type, .. } = call;
        let answer =
            |code| Answer { status: Status::new(code), payload, content_type, message_id: 7 };
        if let Some(code) = device.strip_prefix("status-") {
            let code = code.parse().expect("a number");
            let answer = answer(code);
            return Ok(Answer { status: answer.status.with_message("it says so"), ..answer });
        }
        let why = match &*device {
            "echo" => return Ok(answer(200)),
            "gate" => {
                self.gate.acquire().await.expect("open").forget();
                return Ok(answer(200));
            }
            "no_such_product" => CallError::NoSuchProduct("a1".into()),
            "half_open" => CallError::HalfOpen,
            "disabled" => CallError::Disabled,
            "offline" => CallError::Offline,
            "not_subscribed" => CallError::NotSubscribed,
            "timeout" => CallError::Timeout,
            "too_many" => CallError::TooMany(InFlight::Device(16)),
            "too_large" => CallError::TooLarge,
            "unavailable" => CallError::Unavailable("the broker is away"),
            "lost" => CallError::Lost("the broker went away"),
            "failed" => CallError::Failed("not authorized".into()),
            other => CallError::NoSuchDevice(other.into()),
        };
        Err(why.into())
    }
}

struct Gateway {
    server: Server,
    devices: Arc<Devices>,
    started: Mutex<mpsc::UnboundedReceiver<Call>>,
    ended: Mutex<mpsc::UnboundedReceiver<()>>,
    ended_calls: EndedCalls,
    ready: Arc<AtomicBool>,
}

fn local() -> config::Http {
    let listen = vec![([127, 0, 0, 1], 0).into()];
    config::Http { listen, body: BODY, ..config::Http::default() }
}

fn product(id: &str) -> Product {
    Product {
        id: id.into(),
        dialect: Dialect::Native,
        timeout: None,
        one_in_flight: false,
        ext: false,
        devices: Vec::new(),
    }
}

fn key(id: &str, products: Option<&[&str]>) -> AccessKey {
    let products = products.map(|all| all.iter().map(|&id| id.to_owned()).collect());
    AccessKey { id: id.into(), secret: None, bearer: Some(format!("token-{id}").into()), products }
}

fn state(product: &str, device: &str, connected: Option<bool>) -> DeviceState {
    let since = (connected == Some(true))
        .then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let (product, device) = (product.into(), device.into());
    DeviceState { product, device, dialect: "native", connected, since, in_flight: 2 }
}

/// The devices, and a front that calls them: for the keys `all` and `some`, and the products `a1` and `a2`.
fn front() -> (Front, Gateless) {
    let (started, starts) = mpsc::unbounded_channel();
    let (ended, ends) = mpsc::unbounded_channel();
    let devices = Arc::new(Devices { gate: Semaphore::new(0), started, ended });
    let ready = Arc::new(AtomicBool::new(true));
    let (called, is_ready) = (Arc::clone(&devices), Arc::clone(&ready));
    let front = Front {
        keys: Arc::new(Keys::new(&[key("all", None), key("some", Some(&["a1"]))])),
        products: Arc::new(Products::new(&[product("a1"), product("a2")])),
        calls: BoxCloneSyncService::new(service_fn(move |call| Arc::clone(&called).call(call))),
        publisher: BoxCloneSyncService::new(service_fn(|_: Publication| async {
            Err(CallError::Unavailable("no").into())
        })),
        devices: Arc::new(|wanted| {
            let all = [
                state("a2", "b", None),
                state("a1", "b/c ü", Some(false)),
                state("a1", "b", Some(true)),
            ];
            let named = all.iter().map(|it| ((&*it.product, &*it.device), it));
            let Listed { first, left } = wanted.first(named);
            Listed { first: first.into_iter().map(|(_, it)| it.clone()).collect(), left }
        }),
        ended: EndedCalls::new(),
        replay: Arc::new(Replay::new(config::Http::default().replay_window)),
        now: SystemTime::now,
        ready: Arc::new(move || is_ready.load(Ordering::Relaxed)),
        hub: Some(HubFigures {
            stats: Arc::new(|| HubStats { connections: 4, refused: 5, ..HubStats::default() }),
            devices: Arc::new(|| 3),
            connections: 6,
        }),
    };
    (front, Gateless { devices, starts, ends, ready })
}

struct Gateless {
    devices: Arc<Devices>,
    starts: mpsc::UnboundedReceiver<Call>,
    ends: mpsc::UnboundedReceiver<()>,
    ready: Arc<AtomicBool>,
}

impl Gateway {
    async fn start() -> Self {
        Self::start_with(local(), Patience::default()).await
    }

    async fn start_with(config: config::Http, patience: Patience) -> Self {
        Self::start_on(config, Vec::new(), patience).await
    }

    async fn start_on(
        config: config::Http,
        there: Vec<std::net::TcpListener>,
        patience: Patience,
    ) -> Self {
        let (front, Gateless { devices, starts, ends, ready }) = front();
        let ended_calls = front.ended.clone();
        let server = Server::start_with(&config, there, front, patience).await.expect("started");
        let (started, ended) = (Mutex::new(starts), Mutex::new(ends));
        Self { server, devices, started, ended, ended_calls, ready }
    }

    async fn client(&self) -> Client {
        Client::connect(self.server.local_addrs()[0]).await
    }

    /// The next call that reached a device.
    async fn started(&self) -> Call {
        within(async { self.started.lock().await.recv().await }).await.expect("a call")
    }

    /// Waits until one more call was answered or given up.
    async fn ended(&self) {
        within(async { self.ended.lock().await.recv().await }).await.expect("a call");
    }
}
