//! How connections come and go.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::client::{Client, call, request};
use super::{Gateway, LIMIT, front, local, within};
use crate::gateway::GatewayError;
use crate::gateway::config;
use crate::gateway::http::server::{Patience, Server};

/// Headers that hyper takes.
const HEADERS: usize = 100;

/// Bytes of a path and a query that hyper takes.
const TARGET: usize = 65_534;

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

fn impatient() -> Patience {
    let soon = Duration::from_millis(20);
    Patience { headers: soon, ..Patience::default() }
}

#[tokio::test]
async fn who_hangs_up_cancels_the_call() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    client.send(&call("gate", "")).await;
    gateway.started().await;
    drop(client);
    gateway.ended().await;
}

#[tokio::test]
async fn a_shutdown_lets_calls_finish_and_takes_no_more() {
    let gateway = Gateway::start().await;
    let address = gateway.server.local_addrs()[0];
    let (mut busy, mut idle, mut silent) =
        (gateway.client().await, gateway.client().await, gateway.client().await);
    assert_eq!(idle.ask(HEALTH).await.status, 200);
    busy.send(&call("gate", "late")).await;
    gateway.started().await;
    let Gateway { server, devices, .. } = gateway;
    let stopping = tokio::spawn(server.shutdown(LIMIT * 2));
    idle.closed().await;
    silent.closed().await;
    assert!(TcpStream::connect(address).await.is_err());

    devices.gate.add_permits(1);
    let reply = busy.reply().await;
    assert_eq!((reply.status, reply.text()), (200, "late"));
    assert_eq!(reply.header("connection"), "close");
    busy.closed().await;
    within(stopping).await.unwrap();
}

/// The request of who has connected, or keeps a connection, may be on its way.
#[tokio::test]
async fn who_is_connected_when_it_stops_may_still_call() {
    let patience = Patience { last_request: LIMIT * 2, ..Patience::default() };
    let gateway = Gateway::start_with(local(), patience).await;
    let (mut newcomer, mut keeping) = (gateway.client().await, gateway.client().await);
    // So both are accepted.
    assert_eq!(keeping.ask(HEALTH).await.status, 200);
    let address = gateway.server.local_addrs()[0];
    let stopping = tokio::spawn(gateway.server.shutdown(LIMIT * 2));
    while TcpStream::connect(address).await.is_ok() {}
    for client in [&mut newcomer, &mut keeping] {
        let reply = client.ask(&call("echo", "hello")).await;
        assert_eq!((reply.status, reply.text()), (200, "hello"));
        assert_eq!(reply.header("connection"), "close");
        client.closed().await;
    }
    within(stopping).await.unwrap();
}

#[tokio::test]
async fn who_waits_to_be_accepted_when_it_stops_may_still_call() {
    let gateway = Gateway::start().await;
    let address = gateway.server.local_addrs()[0];
    let (mut stopping, mut waiting) =
        (tokio_test::task::spawn(gateway.server.shutdown(LIMIT)), Vec::new());
    // Nobody else has a turn before all of them are there, and it is told to stop.
    for _ in 0..5 {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        waiting.push(Client(TcpStream::from_std(stream).unwrap()));
    }
    assert!(stopping.poll().is_pending());
    for client in &mut waiting {
        assert_eq!(client.ask(&call("echo", "hello")).await.text(), "hello");
    }
    within(stopping).await;
}

#[tokio::test]
async fn who_connects_between_two_servers_waits_for_the_next() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let start = async || {
        let there = vec![listener.try_clone().unwrap()];
        Gateway::start_on(local(), there, Patience::default()).await
    };
    let first = start().await;
    assert_eq!(first.server.local_addrs(), [address]);
    assert_eq!(first.client().await.ask(HEALTH).await.status, 200);
    within(first.server.shutdown(LIMIT)).await;
    let mut waiting = Client(TcpStream::connect(address).await.unwrap());
    waiting.send(HEALTH).await;
    let _second = start().await;
    assert_eq!(waiting.reply().await.status, 200);
}

#[tokio::test]
async fn calls_that_do_not_finish_in_time_are_cut() {
    for dropped in [false, true] {
        let gateway = Gateway::start().await;
        let mut client = gateway.client().await;
        client.send(&call("gate", "")).await;
        gateway.started().await;
        let Gateway { server, ended, .. } = gateway;
        if dropped {
            drop(server);
        } else {
            within(server.shutdown(Duration::ZERO)).await;
            assert!(ended.lock().await.try_recv().is_ok(), "nothing is left");
        }
        client.closed().await;
    }
}

#[tokio::test]
async fn a_shutdown_that_is_dropped_cuts_everything() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    client.send(&call("gate", "")).await;
    gateway.started().await;
    let mut stopping = tokio_test::task::spawn(gateway.server.shutdown(LIMIT * 2));
    tokio_test::assert_pending!(stopping.poll());
    drop(stopping);
    client.closed().await;
}

#[tokio::test]
async fn slow_headers_and_idle_connections_are_closed() {
    let gateway = Gateway::start_with(local(), impatient()).await;
    for text in ["", "GET /healthz HTTP/1.1\r\nHos", HEALTH] {
        let mut client = gateway.client().await;
        client.send(text).await;
        client.closed().await;
    }
}

#[tokio::test]
async fn a_slow_body_is_a_problem() {
    let patience = Patience { body: Duration::from_millis(20), ..Patience::default() };
    let gateway = Gateway::start_with(local(), patience).await;
    let half = call("echo", "xx").replace("xx", "x");
    gateway.client().await.ask(&half).await.is_problem(408, "too_slow");
}

/// As it is for those who use their SDKs.
#[tokio::test]
async fn a_slow_body_is_said_in_the_vendors_shape() {
    let patience = Patience { body: Duration::from_millis(20), ..Patience::default() };
    let gateway = Gateway::start_with(local(), patience).await;
    let half = |headers| {
        request("POST", "/", headers, "").replace("Content-Length: 0", "Content-Length: 1")
    };
    let reply = gateway.client().await.ask(&half("")).await;
    assert_eq!(reply.status, 408);
    assert_eq!(reply.json()["Code"], "RequestTimeout");
    let reply = gateway.client().await.ask(&half("X-TC-Action: x\r\n")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["Response"]["Error"]["Code"], "InvalidRequest");
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let gateway = Gateway::start().await;
    let own = request("GET", "/healthz", "", "").lines().filter(|line| line.contains(": ")).count();
    for (count, status) in [(HEADERS, 200), (HEADERS + 1, 431)] {
        let many = "a: b\r\n".repeat(count - own);
        let reply = gateway.client().await.ask(&request("GET", "/healthz", &many, "")).await;
        assert_eq!(reply.status, status, "{count}");
    }
    let large = format!("a: {}\r\n", "b".repeat(128 * 1024));
    let reply = gateway.client().await.ask(&request("GET", "/healthz", &large, "")).await;
    assert_eq!(reply.status, 431);
}

#[tokio::test]
async fn a_path_that_is_too_long_is_refused() {
    let gateway = Gateway::start().await;
    for (length, status) in [(TARGET, 404), (TARGET + 1, 414)] {
        let path = format!("/{}", "x".repeat(length - 1));
        let reply = gateway.client().await.ask(&request("GET", &path, "", "")).await;
        assert_eq!(reply.status, status, "{length}");
    }
}

#[tokio::test]
async fn one_connection_more_than_may_be_waits_for_its_turn() {
    let config = config::Http { connections: 1, ..local() };
    let gateway = Gateway::start_with(config, Patience::default()).await;
    let mut first = gateway.client().await;
    assert_eq!(first.ask(HEALTH).await.status, 200);
    let mut second = gateway.client().await;
    second.send(HEALTH).await;
    let numbers = first.ask(&request("GET", "/metrics", "", "")).await;
    assert!(numbers.text().contains("rrpc_gateway_connections 1\n"));
    drop(first);
    assert_eq!(second.reply().await.status, 200);
}

#[tokio::test]
async fn all_addresses_are_listened_on() {
    let any = local().listen[0];
    let config = config::Http { listen: vec![any, any], connections: 2, ..local() };
    let gateway = Gateway::start_with(config, Patience::default()).await;
    let addresses = gateway.server.local_addrs();
    assert_ne!(addresses[0], addresses[1]);
    for &address in addresses.iter().chain(addresses) {
        assert_eq!(Client::connect(address).await.ask(HEALTH).await.status, 200);
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let config = config::Http { listen: vec![address], ..local() };
    let error = Server::start(&config, Vec::new(), front().0).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(matches!(error, GatewayError::Http { .. }));
}
