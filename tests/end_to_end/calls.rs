//! Many calls, their order, and what becomes of those that are given up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tower_mqtt::core::packet::Qos;
use tower_mqtt::responder::ResponderBuilder;
use tower_mqtt::responder::extract::Path;
use tower_mqtt::{Request, Responder, Router};

use super::broker::{Broker, Kind};
use super::{call, request, requester, serve, soon};

over_every_transport! {
    many_calls_are_answered_in_the_reverse_order,
    qos_0_and_1_carry_a_call,
    shared_responders_answer_each_request_once,
    a_request_to_a_route_within_another_is_handled_once,
    calls_that_are_dropped_leave_nothing,
    a_dropped_requester_leaves_its_link_to_others,
    a_program_may_ask_itself,
}

const CALLS: usize = 500;

async fn many_calls_are_answered_in_the_reverse_order(kind: Kind) {
    let broker = Broker::start(kind).await;
    let (turn, _) = watch::channel(CALLS - 1);
    let turn = Arc::new(turn);
    let router = Router::new().route("nth/{n}", async move |Path(n): Path<usize>| {
        turn.subscribe().wait_for(|turn| *turn == n).await.expect("it lives as the router does");
        // The next one down, and 0 again at the end.
        turn.send_replace(n.saturating_sub(1));
        format!("answer {n}")
    });
    let _responder = serve(broker.responder_link("responder").await, router).await;
    let requester = requester(broker.link().await).await;
    let calls: Vec<_> = (0..CALLS)
        .map(|n| {
            let requester = requester.clone();
            tokio::spawn(async move { call(&requester, request(&format!("nth/{n}"), "")).await })
        })
        .collect();
    for (n, answer) in calls.into_iter().enumerate() {
        let response = answer.await.expect("no panic").expect("answered");
        assert_eq!(response.payload(), &format!("answer {n}"));
    }
    let stats = requester.stats();
    assert_eq!((stats.answered, stats.in_flight), (CALLS as u64, 0));
    assert_eq!((stats.late, stats.unknown, stats.duplicate, stats.malformed), (0, 0, 0, 0));
}

async fn qos_0_and_1_carry_a_call(kind: Kind) {
    let broker = Broker::start(kind).await;
    let router =
        Router::new().route("qos", async |request: Request| format!("{:?}", request.parts().qos));
    let _responder = serve(broker.responder_link("responder").await, router).await;
    let requester = requester(broker.link().await).await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let response = call(&requester, request("qos", "").qos(qos)).await.expect("answered");
        assert_eq!(response.payload(), &format!("{qos:?}"));
    }
}

async fn shared_responders_answer_each_request_once(kind: Kind) {
    const EACH: usize = 20;
    let broker = Broker::start(kind).await;
    let mut responders = Vec::new();
    let handled = Arc::new(AtomicUsize::new(0));
    for name in ["anna", "bert", "carl"] {
        let handled = Arc::clone(&handled);
        let router = Router::new().route("who", async move || {
            handled.fetch_add(1, Ordering::Relaxed);
            name
        });
        let link = broker.responder_link(name).await;
        let responder = Responder::builder(link).share("kitchen").serve(router).await;
        responders.push(responder.expect("subscribed"));
    }
    let requester = requester(broker.link().await).await;
    let mut answers = HashMap::new();
    for _ in 0..3 * EACH {
        let response = call(&requester, request("who", "")).await.expect("answered");
        *answers.entry(response.into_payload()).or_insert(0) += 1;
    }
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(handled.load(Ordering::Relaxed), 3 * EACH);
    assert_eq!(requester.stats().duplicate, 0);
    // When one leaves politely the others take over, and no request is lost.
    soon(responders.remove(0).shutdown(Duration::from_secs(5))).await;
    for _ in 0..EACH {
        let response = call(&requester, request("who", "")).await.expect("answered");
        assert_ne!(response.payload(), "anna");
    }
}

async fn a_request_to_a_route_within_another_is_handled_once(kind: Kind) {
    const CALLS: usize = 10;
    let broker = Broker::start(kind).await;
    let requester = requester(broker.link().await).await;
    for share_name in [None, Some("kitchen")] {
        let handled = Arc::new(AtomicUsize::new(0));
        let count = |answer: &'static str| {
            let handled = Arc::clone(&handled);
            async move || {
                handled.fetch_add(1, Ordering::Relaxed);
                answer
            }
        };
        let router = Router::new()
            .route("recipes/soup/get", count("soup"))
            .route("recipes/{category}/get", count("any"));
        let mut responders = Vec::new();
        // Without a share name everybody gets every request.
        for name in ["anna", "bert"].into_iter().take(1 + usize::from(share_name.is_some())) {
            let builder = Responder::builder(broker.responder_link(name).await);
            let builder = share_name.into_iter().fold(builder, ResponderBuilder::share);
            responders.push(builder.serve(router.clone()).await.expect("subscribed"));
        }
        for _ in 0..CALLS {
            for (topic, answer) in [("recipes/soup/get", "soup"), ("recipes/cake/get", "any")] {
                let response = call(&requester, request(topic, "")).await.expect("answered");
                assert_eq!(response.payload(), answer, "{share_name:?}");
            }
        }
        // Another copy would have come before the end of the subscription is acknowledged.
        for responder in responders {
            soon(responder.shutdown(Duration::from_secs(5))).await;
        }
        assert_eq!(handled.load(Ordering::Relaxed), 2 * CALLS, "{share_name:?}");
    }
}

async fn calls_that_are_dropped_leave_nothing(kind: Kind) {
    let broker = Broker::start(kind).await;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    let waiting = Arc::clone(&go_on);
    let router = Router::new()
        .route("slow", async move || {
            let notified = waiting.notified();
            let _ = arrived.send(());
            notified.await;
            "late"
        })
        .route("quick", async || "quick");
    let _responder = serve(broker.responder_link("responder").await, router).await;
    let requester = requester(broker.link().await).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let requester = requester.clone();
            tokio::spawn(async move { call(&requester, request("slow", "")).await })
        })
        .collect();
    for _ in 0..100 {
        soon(arrivals.recv()).await;
    }
    assert_eq!(requester.stats().in_flight, 100);
    for call in calls {
        call.abort();
        assert!(call.await.expect_err("aborted").is_cancelled());
    }
    go_on.notify_waiters();
    // The late answers are all counted; that they are late and not unknown is remembered for most.
    let counted = || requester.stats().late + requester.stats().unknown;
    while counted() < 100 {
        call(&requester, request("quick", "")).await.expect("answered");
    }
    let stats = requester.stats();
    assert_eq!((stats.in_flight, stats.late + stats.unknown), (0, 100));
    assert!(stats.late > 50, "{stats:?}");
}

async fn a_dropped_requester_leaves_its_link_to_others(kind: Kind) {
    let broker = Broker::start(kind).await;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let router = Router::new()
        .route("never", async move || {
            let _ = arrived.send(());
            std::future::pending::<&str>().await
        })
        .route("quick", async || "quick");
    let _responder = serve(broker.responder_link("responder").await, router).await;
    let link = broker.link().await;
    let first = requester(link.clone()).await;
    let second = requester(link.clone()).await;
    let in_flight = tokio::spawn(async move { call(&first, request("never", "")).await });
    soon(arrivals.recv()).await;
    in_flight.abort();
    let _ = in_flight.await;
    let third = requester(link).await;
    for requester in [second, third] {
        let response = call(&requester, request("quick", "")).await.expect("answered");
        assert_eq!(response.payload(), "quick");
        assert_eq!(requester.stats().in_flight, 0);
    }
}

async fn a_program_may_ask_itself(kind: Kind) {
    let broker = Broker::start(kind).await;
    let link = broker.responder_link("both").await;
    let _responder = serve(link.clone(), Router::new().route("self", async || "me")).await;
    let requester = requester(link).await;
    let response = call(&requester, request("self", "")).await.expect("answered");
    assert_eq!(response.payload(), "me");
}
