//! A handler that makes calls does not wait for itself, however small the QoS 1 window is.
#![cfg(feature = "ntex")]

#[path = "support/mosquitto.rs"]
mod mosquitto;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt};
use tower_mqtt::error::Delivery;
use tower_mqtt::layer::retry::RetryPolicy;
use tower_mqtt::layer::{DedupLayer, RetryLayer};
use tower_mqtt::link::memory::Network;
use tower_mqtt::responder::Acknowledge;
use tower_mqtt::{
    Client, Hub, Link, Request, RequestError, Requester, Responder, Router, ServeError, Status,
};

use self::mosquitto::Mosquitto;

const CALLS: usize = 50;

async fn link(address: &str, receive_maximum: u16) -> Link {
    let receive_maximum = NonZeroU16::new(receive_maximum).expect("not zero");
    Client::builder(address).receive_maximum(receive_maximum).connect().await.expect("connected")
}

/// Many calls at once to a handler that makes one itself, over a link with this window.
async fn nested_calls_end(address: &str, receive_maximum: u16, acknowledge: Acknowledge) {
    let inner = Router::new().route("inner", async || "inner");
    let _inner = Responder::builder(link(address, u16::MAX).await).serve(inner).await.unwrap();

    let builder = Responder::builder(link(address, receive_maximum).await).acknowledge(acknowledge);
    let calls = builder.link_for_calls().await.unwrap();
    let nested = Requester::builder(calls).build().await.unwrap();
    let outer = Router::new().route("outer", move || {
        let nested = nested.clone();
        async move { nested.oneshot(Request::new("inner", "")?).await }
    });
    let outer = builder.serve(outer).await.unwrap();

    let requester = Requester::builder(link(address, u16::MAX).await).build().await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let request = Request::new("outer", "").unwrap().timeout(Duration::from_mins(1));
        calls.spawn(requester.clone().oneshot(request));
    }
    for call in calls.join_all().await {
        let response =
            call.unwrap_or_else(|error| panic!("{receive_maximum} {acknowledge:?}: {error}"));
        assert_eq!(response.payload(), "inner");
    }
    assert_eq!(outer.stats().answered, CALLS as u64);
}

async fn with_every_window(address: &str) {
    for receive_maximum in [1, 2, 16, u16::MAX] {
        nested_calls_end(address, receive_maximum, Acknowledge::OnReceipt).await;
        nested_calls_end(address, receive_maximum, Acknowledge::AfterAnswer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_mosquitto() {
    let broker = Mosquitto::start(&["set_tcp_nodelay true"]).await;
    with_every_window(&broker.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_mosquitto_that_sends_one_at_a_time() {
    let broker = Mosquitto::start(&["set_tcp_nodelay true", "max_inflight_messages 1"]).await;
    with_every_window(&broker.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_hub() {
    let hub = Hub::builder().bind("127.0.0.1:0").start().await.unwrap();
    with_every_window(&format!("mqtt://{}", hub.local_addr().expect("bound"))).await;
}

#[tokio::test]
async fn a_requester_on_the_link_of_a_responder_that_acknowledges_late_is_refused() {
    let explained = |error: ServeError| {
        assert!(matches!(error, ServeError::Configuration(_)), "{error:?}");
        assert!(error.to_string().contains("link_for_calls"), "{error}");
    };
    let network = Network::new();
    let router = || Router::new().route("ask", async || "answer");
    let late = |link: Link| Responder::builder(link).acknowledge(Acknowledge::AfterAnswer);

    let first = network.link("first");
    let responder = late(first.clone()).serve(router()).await.unwrap();
    explained(Requester::builder(first.clone()).build().await.unwrap_err());
    responder.shutdown(Duration::ZERO).await;
    assert!(Requester::builder(first).build().await.is_ok());

    let second = network.link("second");
    let _requester = Requester::builder(second.clone()).build().await.unwrap();
    explained(late(second.clone()).serve(router()).await.unwrap_err());
    assert!(Responder::builder(second).serve(router()).await.is_ok());
}

/// 503 and 429 say that a request was not executed, and are repeated whatever it asks for. A handler that
/// returns the error of its own call has begun.
#[tokio::test(start_paused = true)]
async fn a_handler_whose_call_fails_is_not_executed_again() {
    let failures = [
        RequestError::Timeout,
        RequestError::Closed,
        RequestError::Disconnected(Delivery::Unknown),
        RequestError::Disconnected(Delivery::NotDelivered),
        RequestError::NoResponder,
        RequestError::Overloaded,
        RequestError::Refused(Status::UNAVAILABLE),
        RequestError::Refused(Status::TOO_MANY_REQUESTS),
    ];
    for failure in failures {
        let network = Network::new();
        let executed = Arc::new(AtomicU32::new(0));
        let handler = |failure: &RequestError| {
            let (executed, failure) = (executed.clone(), failure.clone());
            move || {
                executed.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Err::<(), _>(failure.clone()))
            }
        };
        let forgetful = Router::new().route("forgetful", handler(&failure));
        let remembering = Router::new().route("remembering", handler(&failure));
        let router = forgetful.merge(remembering.layer(DedupLayer::default()));
        let _responder = Responder::builder(network.link("kitchen")).serve(router).await.unwrap();
        let requester = Requester::builder(network.link("machine")).build().await.unwrap();
        let retry = ServiceBuilder::new()
            .layer(RetryLayer::new(RetryPolicy::default().responder_deduplicates()))
            .service(requester);
        for topic in ["forgetful", "remembering"] {
            let answer = retry.clone().oneshot(Request::new(topic, "").unwrap()).await.unwrap();
            assert_eq!(answer.status().code(), 502, "{failure}");
            assert_eq!(executed.swap(0, Ordering::SeqCst), 1, "{topic}: {failure}");
        }
    }
}
