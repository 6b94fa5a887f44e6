//! The fault proxy: what it does to packets and connections, and what becomes of calls then.
#![cfg(all(feature = "ntex", feature = "test-util"))]

#[path = "fault_proxy/bytes.rs"]
mod bytes;
#[path = "fault_proxy/calls.rs"]
mod calls;
#[path = "fault_proxy/connections.rs"]
mod connections;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/soon.rs"]
mod soon;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::mpsc;
use tower::ServiceExt;
use tower_mqtt::link::Reconnect;
use tower_mqtt::test_util::FaultProxy;
use tower_mqtt::{
    Client, Hub, Link, Request, RequestError, Requester, Responder, Response, Router,
};

use self::mosquitto::Mosquitto;
use self::soon::soon;

/// What is behind the proxy.
enum Broker {
    Hub(Hub),
    Mosquitto(Mosquitto),
}

impl Broker {
    async fn hub() -> Self {
        Self::Hub(Hub::builder().bind("127.0.0.1:0").start().await.expect("started"))
    }

    async fn mosquitto() -> Self {
        Self::Mosquitto(Mosquitto::start(&[]).await)
    }

    /// Each in turn.
    async fn both() -> [Self; 2] {
        [Self::hub().await, Self::mosquitto().await]
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Hub(hub) => hub.local_addr().expect("bound"),
            Self::Mosquitto(mosquitto) => (Ipv4Addr::LOCALHOST, mosquitto.port()).into(),
        }
    }
}

async fn link(address: SocketAddr, client_id: &str) -> Link {
    link_with(address, &format!("client_id={client_id}")).await
}

/// Comes back at once.
async fn link_with(address: SocketAddr, options: &str) -> Link {
    let reconnect =
        Reconnect { shortest: Duration::from_millis(1), longest: Duration::from_millis(10) };
    let client = Client::builder(&format!("mqtt://{address}?{options}")).reconnect(reconnect);
    soon(client.connect()).await.expect("connected")
}

/// A kitchen that is connected directly, and says which requests have come; a machine that is not.
struct Setup {
    proxy: FaultProxy,
    _responder: Responder,
    arrivals: mpsc::UnboundedReceiver<String>,
    broker: Broker,
}

impl Setup {
    async fn new(broker: Broker) -> Self {
        Self::with(broker, |router| router).await
    }

    async fn with(broker: Broker, change: fn(Router) -> Router) -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let handler = move |request: Request| {
            let said = String::from_utf8_lossy(request.payload()).into_owned();
            let _ = arrived.send(said);
            async move { request.payload().clone() }
        };
        let router = change(Router::new().route("echo/{name}", handler));
        let kitchen = link(broker.address(), "kitchen").await;
        let responder = Responder::builder(kitchen).serve(router).await.expect("subscribed");
        let proxy = FaultProxy::start(broker.address()).await.expect("started");
        Self { proxy, _responder: responder, arrivals, broker }
    }

    /// A machine behind the proxy.
    async fn requester(&self, client_id: &str) -> Requester {
        let link = link(self.proxy.addr(), client_id).await;
        Requester::builder(link).build().await.expect("subscribed")
    }

    async fn arrival(&mut self) -> String {
        soon(self.arrivals.recv()).await.expect("the responder lives")
    }
}

fn echo(payload: &str) -> Request {
    Request::new("echo/soup", payload.to_owned()).expect("a topic name")
}

type Outcome = Result<Response, RequestError>;

fn ask(requester: &Requester, request: Request) -> tokio::task::JoinHandle<Outcome> {
    tokio::spawn(requester.clone().oneshot(request))
}

async fn answered(call: tokio::task::JoinHandle<Outcome>, payload: &str) {
    let response = soon(call).await.expect("no panic").expect("answered");
    assert_eq!(response.payload(), payload);
}

async fn failed(call: tokio::task::JoinHandle<Outcome>) -> RequestError {
    soon(call).await.expect("no panic").expect_err("it fails")
}
