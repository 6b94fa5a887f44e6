//! Who looks on while calls end.

use std::time::{Duration, SystemTime};

use tokio::io::AsyncReadExt;

use super::client::{Client, request};
use super::{Gateway, LIMIT, local, within};
use crate::gateway::config;
use crate::gateway::ended::{Ended, WAITING};
use crate::gateway::http::calls::STREAMS;
use crate::gateway::http::server::Patience;

const NOW: Duration = Duration::from_millis(1_700_000_000_123);

fn ended(product: &str, device: &str) -> Ended {
    Ended {
        at: SystemTime::UNIX_EPOCH + NOW,
        api: "plain",
        product: product.into(),
        device: device.into(),
        dialect: "native",
        outcome: "timeout",
        duration: Duration::from_micros(1500),
    }
}

/// The head of the answer that begins a stream.
async fn watch(client: &mut Client, key: &str) -> String {
    let text = request("GET", "/v1/calls", "", "").replace("token-all", key);
    client.send(&text).await;
    until(client, "\r\n\r\n").await
}

/// What comes, up to this.
async fn until(client: &mut Client, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.push(within(client.0.read_u8()).await.expect("more comes"));
    }
    String::from_utf8(text).expect("text")
}

#[tokio::test]
async fn who_looks_on_is_told_of_the_calls_of_its_products() {
    let gateway = Gateway::start().await;
    let (mut some, mut all) = (gateway.client().await, gateway.client().await);
    assert!(!gateway.ended_calls.is_watched());
    for (client, key) in [(&mut some, "token-some"), (&mut all, "token-all")] {
        let head = watch(client, key).await.to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        assert!(head.contains("cache-control: no-store\r\n"), "{head}");
    }
    for (product, device) in [("a2", "hidden"), ("a1", "lamp\n\"")] {
        gateway.ended_calls.tell(ended(product, device));
    }
    let told = |product: &str, device: &str| {
        format!(
            "event: call\ndata: {{\"time\":\"2023-11-14T22:13:20.123Z\",\"api\":\"plain\",\
             \"product\":\"{product}\",\"device\":\"{device}\",\"dialect\":\"native\",\
             \"outcome\":\"timeout\",\"milliseconds\":1.5}}\n\n"
        )
    };
    let (hidden, lamp) = (told("a2", "hidden"), told("a1", "lamp\\n\\\""));
    let text = until(&mut some, &lamp).await;
    assert!(text.ends_with(&format!("\r\n{lamp}")) && !text.contains("hidden"), "{text}");
    let text = until(&mut all, &lamp).await;
    assert!(text.contains(&hidden), "{text}");
}

#[tokio::test]
async fn who_is_slow_is_told_how_many_it_has_missed() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    watch(&mut client, "token-all").await;
    // No await between them: the stream gets its turn when all have ended.
    for number in 0..WAITING + 7 {
        gateway.ended_calls.tell(ended("a1", &format!("d{number}")));
    }
    let text = until(&mut client, &format!("\"d{}\"", WAITING + 6)).await;
    let (missed, rest) = text.split_once("\n\n").expect("an event");
    assert!(missed.ends_with("event: missed\ndata: {\"count\":7}"), "{missed}");
    assert!(rest.contains("\"d7\"") && !rest.contains("\"d6\""));
}

#[tokio::test]
async fn a_key_is_needed_and_the_method_is_get() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let text = request("GET", "/v1/calls", "", "").replace("token-all", "nobody");
    client.ask(&text).await.is_problem(401, "unauthorized");
    client.ask(&request("POST", "/v1/calls", "", "")).await.is_problem(405, "method_not_allowed");
    // Its body is not sent, so it looks on at nothing.
    assert_eq!(client.ask(&request("HEAD", "/v1/calls", "", "")).await.status, 200);
    assert_eq!(client.ask(&request("GET", "/healthz", "", "")).await.status, 200);
    assert!(!gateway.ended_calls.is_watched());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_who_looks_on() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    watch(&mut client, "token-all").await;
    within(gateway.server.shutdown(LIMIT * 2)).await;
    let mut rest = Vec::new();
    within(client.0.read_to_end(&mut rest)).await.expect("not cut");
    assert!(rest.ends_with(b"0\r\n\r\n"), "it ends as a body does: {rest:?}");
}

#[tokio::test]
async fn a_stream_outlives_the_time_for_the_next_request() {
    let patience = Patience { headers: Duration::from_millis(20), ..Patience::default() };
    let gateway = Gateway::start_with(local(), patience).await;
    let mut client = gateway.client().await;
    watch(&mut client, "token-all").await;
    // Connected later, and closed as its time is over.
    gateway.client().await.closed().await;
    gateway.ended_calls.tell(ended("a1", "lamp"));
    until(&mut client, "\"lamp\"").await;
}

#[tokio::test]
async fn no_more_look_on_than_may_and_a_place_is_free_again() {
    let gateway = Gateway::start().await;
    let mut clients = Vec::new();
    for _ in 0..STREAMS {
        let mut client = gateway.client().await;
        watch(&mut client, "token-all").await;
        clients.push(client);
    }
    let mut late = gateway.client().await;
    let reply = late.ask(&request("GET", "/v1/calls", "", "")).await;
    reply.is_problem(503, "too_many");
    assert_eq!(reply.header("retry-after"), "1");
    drop(clients);
    // Each is seen to be gone in its own time.
    loop {
        let mut client = gateway.client().await;
        if watch(&mut client, "token-all").await.starts_with("HTTP/1.1 200") {
            break;
        }
    }
}

#[tokio::test]
async fn half_of_the_connections_are_left_to_others() {
    let config = config::Http { connections: 3, ..local() };
    let gateway = Gateway::start_with(config, Patience::default()).await;
    let (mut first, mut second) = (gateway.client().await, gateway.client().await);
    watch(&mut first, "token-all").await;
    let text = request("GET", "/v1/calls", "", "");
    second.ask(&text).await.is_problem(503, "too_many");
}
