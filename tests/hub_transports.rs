//! The hub over TLS, WebSocket and Unix sockets. Some of its clients we did not write: they need the
//! package `mosquitto-clients`, Python with `tests/foreign/requirements.txt`, and Node with
//! `tests/foreign/package.json`.
#![cfg(all(feature = "tls", feature = "ws", unix))]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "hub_transports/client_certificates.rs"]
mod client_certificates;
#[path = "hub_transports/foreign.rs"]
mod foreign;
#[path = "hub_transports/handshakes.rs"]
mod handshakes;
#[path = "hub_transports/listeners.rs"]
mod listeners;
#[path = "hub_transports/logs.rs"]
mod logs;
#[path = "support/programs.rs"]
mod programs;
#[path = "support/raw.rs"]
mod raw;
#[path = "hub_transports/rotation.rs"]
mod rotation;
#[path = "hub_transports/unix.rs"]
mod unix;
#[path = "hub_transports/web_socket.rs"]
mod web_socket;

use std::net::SocketAddr;
use std::path::PathBuf;

use tower::ServiceExt;
use tower_mqtt::hub::{HubBuilder, Listener, Listening, Transport};
use tower_mqtt::link::{Client, ClientBuilder};
use tower_mqtt::tls::{ClientTls, ServerTls};
use tower_mqtt::{Hub, Request, Requester, Responder, Router};

use self::certificates::Authority;
use self::programs::soon;

/// A hub that answers on `echo`, and who has signed its certificate.
struct Kitchen {
    hub: Hub,
    authority: Authority,
    #[expect(dead_code, reason = "it is only held")]
    responder: Responder,
}

impl Kitchen {
    /// Listens over every transport, in the order of [`Transport`].
    async fn open(hub: HubBuilder) -> Self {
        let authority = Authority::new("kitchen");
        let (tls, address) = (server(&authority), "127.0.0.1:0");
        let hub = hub
            .listen(Listener::tcp(address))
            .listen(Listener::tls(address, tls.clone()))
            .listen(Listener::ws(address))
            .listen(Listener::wss(address, tls))
            .listen(Listener::unix(socket(&authority)));
        let hub = hub.start().await.expect("started");
        let responder = echo(&hub).await;
        Self { hub, authority, responder }
    }

    fn over(&self, transport: Transport) -> &Listening {
        let mut listeners = self.hub.listeners().iter();
        listeners.find(|listening| listening.transport() == transport).expect("it listens")
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        self.over(transport).local_addr().expect("it has one")
    }

    fn client(&self, transport: Transport) -> ClientBuilder {
        client(self.over(transport), &self.authority)
    }
}

async fn echo(hub: &Hub) -> Responder {
    let router = Router::new().route("echo", async |payload: bytes::Bytes| payload);
    Responder::builder(hub.link("responder")).serve(router).await.expect("subscribed")
}

fn server(authority: &Authority) -> ServerTls {
    let files = authority.server(&["127.0.0.1"]);
    ServerTls::builder(files.certificate, files.key).load().expect("loaded")
}

/// A path for a Unix socket, beside the certificates.
fn socket(authority: &Authority) -> PathBuf {
    authority.certificate().with_file_name("hub.sock")
}

/// A client that trusts this authority.
fn client(listening: &Listening, authority: &Authority) -> ClientBuilder {
    let url = listening.to_string();
    let client = Client::builder(&url);
    let secure = url.starts_with("mqtts:") || url.starts_with("wss:");
    if secure { client.tls(ClientTls::new().ca_file(authority.certificate())) } else { client }
}

async fn requester(client: ClientBuilder) -> Requester {
    let link = soon(client.connect()).await.expect("accepted");
    Requester::builder(link).build().await.expect("subscribed")
}

/// Whether a call with so many bytes is answered with the same.
async fn works(requester: &Requester, size: usize) {
    let payload: Vec<u8> = (0..=250).cycle().take(size).collect();
    let request = Request::new("echo", payload.clone()).expect("a topic");
    let response = soon(requester.clone().oneshot(request)).await.expect("answered");
    assert!(response.payload()[..] == payload[..], "{size} bytes");
}

#[tokio::test]
async fn calls_go_over_every_transport() {
    for workers in [1, 2] {
        let kitchen = Kitchen::open(Hub::builder().workers(workers)).await;
        for listening in kitchen.hub.listeners() {
            let requester = requester(client(listening, &kitchen.authority)).await;
            for size in [0, 1, 125, 126, 65_535, 65_536, 70_000, 1_000_000] {
                works(&requester, size).await;
            }
            let calls = (0..200).map(|size| works(&requester, size));
            futures_util::future::join_all(calls).await;
        }
    }
}

#[tokio::test]
async fn the_hub_says_where_it_listens() {
    let kitchen = Kitchen::open(Hub::builder()).await;
    let ports: Vec<u16> = kitchen.hub.local_addrs().iter().map(SocketAddr::port).collect();
    let urls: Vec<String> = kitchen.hub.listeners().iter().map(ToString::to_string).collect();
    let expected = [
        format!("mqtt://127.0.0.1:{}", ports[0]),
        format!("mqtts://127.0.0.1:{}", ports[1]),
        format!("ws://127.0.0.1:{}/mqtt", ports[2]),
        format!("wss://127.0.0.1:{}/mqtt", ports[3]),
        format!("unix:{}", socket(&kitchen.authority).display()),
    ];
    assert_eq!(urls, expected);
    let path = kitchen.over(Transport::Unix).unix_path();
    assert_eq!(path, Some(&*socket(&kitchen.authority)));
}
