//! Every queue and table has a bound, and says what happens when it is full.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::*;
use tokio::sync::Semaphore;
use tower_mqtt::link::OutgoingLimits;
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::{Delivery, Request, RequestError, Requester, Responder, Router};

fn router() -> Router {
    Router::new().route("ask", async |request: Request| request.payload().clone())
}

/// A requester on a link with these limits, whose window of one message is full.
async fn stalled(limits: OutgoingLimits) -> (Network, Requester, Responder) {
    let network = Network::new();
    let responder = Responder::builder(network.link("b")).serve(router()).await.unwrap();
    network.receive_maximum(1);
    let requester = Requester::builder(network.link_with("a", limits)).build().await.unwrap();
    network.hold_acknowledgements(true);
    start(&requester, to("ask")).await.await.unwrap().unwrap();
    (network, requester, responder)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_the_outgoing_queue_full_is_overloaded_at_once() {
    let limits = OutgoingLimits { messages: 3, ..OutgoingLimits::default() };
    let (network, requester, _responder) = stalled(limits).await;
    let mut queued = Vec::new();
    for _ in 0..3 {
        queued.push(start(&requester, to("ask")).await);
    }
    for _ in 0..10 {
        let error = call(&requester, to("ask")).await.unwrap_err();
        assert_eq!(error, RequestError::Overloaded);
        assert_eq!(error.delivery(), Delivery::NotDelivered);
    }
    assert_eq!(requester.stats().in_flight, 3);
    network.hold_acknowledgements(false);
    for call in queued {
        call.await.unwrap().unwrap();
    }
    call(&requester, to("ask")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_outgoing_queue_is_bounded_in_bytes_too() {
    let limits = OutgoingLimits { bytes: 10_000, ..OutgoingLimits::default() };
    let (network, requester, _responder) = stalled(limits).await;
    let large = || Request::new("ask", vec![0; 4000]).unwrap();
    let queued = [start(&requester, large()).await, start(&requester, large()).await];
    assert_eq!(call(&requester, large()).await.unwrap_err(), RequestError::Overloaded);
    let small = start(&requester, to("ask")).await;
    assert!(!small.is_finished(), "there is room for a small one");
    network.hold_acknowledgements(false);
    for call in queued.into_iter().chain([small]) {
        call.await.unwrap().unwrap();
    }
    let freed = start(&requester, large()).await;
    freed.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_finds_the_outgoing_queue_full_is_counted() {
    let network = Network::new();
    network.receive_maximum(1);
    let limits = OutgoingLimits { messages: 2, ..OutgoingLimits::default() };
    let link = network.link_with("b", limits);
    let responder = Responder::builder(link).serve(router()).await.unwrap();
    network.receive_maximum(u16::MAX);
    let requester = Requester::builder(network.link("a")).timeout(SECOND).build().await.unwrap();
    network.hold_acknowledgements(true);
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.push(start(&requester, to("ask")).await);
    }
    assert_eq!((responder.stats().received, responder.stats().undelivered), (8, 5));
    network.hold_acknowledgements(false);
    let mut answered = 0;
    for call in calls {
        answered += usize::from(call.await.unwrap().is_ok());
    }
    assert_eq!(answered, 3);
}

#[tokio::test(start_paused = true)]
async fn one_correlation_data_has_sixteen_waiters_at_most() {
    let (network, requester, _responder) = ask_and_answer(router()).await;
    network.on_message(|_| Fate::Lose);
    let attempt = || to("ask").correlation_data(&b"id"[..]);
    let mut calls = Vec::new();
    for _ in 0..16 {
        calls.push(start(&requester, attempt()).await);
    }
    assert_eq!(call(&requester, attempt()).await.unwrap_err(), RequestError::Overloaded);
    network.on_message(|_| Fate::Deliver);
    calls.pop().unwrap().abort();
    settle().await;
    call(&requester, attempt()).await.unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_handlers_run_than_the_concurrency_allows() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let (most, gate) = (Arc::clone(&most), Arc::clone(&gate));
        async move || {
            let _alive = Alive::new(&running);
            most.fetch_max(running.load(Ordering::SeqCst), Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
        }
    };
    let network = Network::new();
    let builder = Responder::builder(network.link("b")).concurrency(5);
    let responder = builder.serve(Router::new().route("ask", handler)).await.unwrap();
    let requester = Requester::builder(network.link("a")).build().await.unwrap();
    let calls: Vec<_> = (0..100).map(|_| call(&requester, to("ask"))).map(tokio::spawn).collect();
    until("95 are refused", || responder.stats().overloaded == 95).await;
    gate.add_permits(5);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((most.load(Ordering::SeqCst), responder.stats().received), (5, 5));
}
