//! Requester and responder over the in-memory link, in both dialects; and how they compose.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use support::*;
use tokio::sync::{Notify, Semaphore};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_mqtt::core::packet::Qos;
use tower_mqtt::dialect::{Dialect, Native};
use tower_mqtt::link::memory::{self, Network};
use tower_mqtt::responder::extract::Path;
use tower_mqtt::{Request, RequestError, Requester, Responder, Response, Router, ServeError};

fn greeter() -> Router {
    Router::new()
        .route("greet/{name}", async |Path(name): Path<String>| format!("hi {name}"))
        .route("echo-back", async |request: Request| request.payload().clone())
}

/// What every dialect must do, over a pair of links.
async fn basics<D: Dialect + Copy>(dialect: D) {
    let (a, b) = memory::pair();
    let responder = Responder::builder(b).dialect(dialect).serve(greeter()).await.unwrap();
    let requester = Requester::builder(a).dialect(dialect).build().await.unwrap();
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let response = call(&requester, to("greet/anna").qos(qos)).await.unwrap();
        assert_eq!(response.payload(), "hi anna");
    }
    let calls = (0..1000).map(|n| {
        let call = call(&requester, Request::new("echo-back", n.to_string()).unwrap());
        tokio::spawn(async move { assert_eq!(call.await.unwrap().payload(), &n.to_string()) })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    let nobody = call(&requester, to("nobody/home")).await.unwrap_err();
    assert_eq!(nobody, RequestError::NoResponder);
    let stats = requester.stats();
    assert_eq!((stats.in_flight, stats.answered), (0, 1002));
    assert_eq!((stats.late, stats.duplicate, stats.unknown, stats.malformed), (0, 0, 0, 0));
    assert_eq!((responder.stats().received, responder.stats().in_flight), (1002, 0));
    responder.shutdown(SECOND).await;
    assert_eq!(
        call(&requester, to("greet/anna")).await.unwrap_err(),
        RequestError::NoResponder,
        "unsubscribed"
    );
}

#[tokio::test(start_paused = true)]
async fn the_native_dialect_asks_and_answers() {
    basics(Native::new()).await;
    basics(Native::new().text_ids()).await;
}

#[tokio::test(start_paused = true)]
async fn a_dialect_on_one_topic_asks_and_answers() {
    basics(EchoTopic).await;
}

#[tokio::test(start_paused = true)]
async fn both_sides_speak_both_dialects_over_one_pair_of_links() {
    let (a, b) = memory::pair();
    let mut responders = Vec::new();
    let mut requesters = Vec::new();
    for (own, link) in [("a", &a), ("b", &b)] {
        let router = || Router::new().route(&format!("who/{own}"), async move || own.to_string());
        let responder = Responder::builder(link.clone()).dialect(Native::new()).dialect(EchoTopic);
        responders.push(responder.serve(router()).await.unwrap());
        let native = Requester::builder(link.clone()).build().await.unwrap();
        let echo = Requester::builder(link.clone()).dialect(EchoTopic).build().await.unwrap();
        requesters.push([native, echo]);
    }
    for _ in 0..10 {
        let calls = requesters.iter().zip(["b", "a"]).flat_map(|(both, other)| {
            both.iter().map(move |requester| {
                let call = call(requester, to(&format!("who/{other}")));
                async move { assert_eq!(call.await.unwrap().payload(), other) }
            })
        });
        for task in calls.map(tokio::spawn).collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }
    for requester in requesters.iter().flatten() {
        let stats = requester.stats();
        assert_eq!((stats.in_flight, stats.answered, stats.unknown), (0, 10, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_calls_a_route_that_it_serves_itself() {
    let link = Network::new().link("a");
    let _responder = Responder::builder(link.clone()).serve(greeter()).await.unwrap();
    let requester = Requester::builder(link).build().await.unwrap();
    assert_eq!(call(&requester, to("greet/me")).await.unwrap().payload(), "hi me");
}

#[tokio::test(start_paused = true)]
async fn several_requesters_on_one_link_get_their_own_answers() {
    let (a, b) = memory::pair();
    let _responder = Responder::builder(b).serve(greeter()).await.unwrap();
    let mut requesters = Vec::new();
    for _ in 0..5 {
        requesters.push(Requester::builder(a.clone()).build().await.unwrap());
    }
    requesters.remove(1);
    requesters.push(Requester::builder(a).build().await.unwrap());
    for (n, requester) in requesters.iter().enumerate() {
        let response = call(requester, to(&format!("greet/{n}"))).await.unwrap();
        assert_eq!(response.payload(), &format!("hi {n}"));
        assert_eq!(requester.stats().answered, 1);
    }
}

/// Nothing that a client sends arrives any more, though it has not noticed yet.
#[tokio::test(start_paused = true)]
async fn who_is_disconnected_does_not_subscribe() {
    let network = Network::new();
    let link = network.link("kitchen");
    let mut serving = tokio_test::task::spawn(Responder::builder(link.clone()).serve(greeter()));
    assert!(serving.poll().is_pending(), "it has said what to subscribe to");
    network.disconnect("kitchen");
    let served = tokio::time::timeout(SECOND, serving).await.expect("it ends");
    assert!(matches!(served.unwrap_err(), ServeError::Disconnected));
    network.reconnect("kitchen");
    link.connected().await;
    assert!(!network.has_subscriber(&topic("greet/anna")));
}

#[tokio::test(start_paused = true)]
async fn responders_of_a_share_name_take_turns() {
    let network = Network::new();
    let mut responders = Vec::new();
    for name in ["x", "y", "z"] {
        let builder = Responder::builder(network.link(name)).share("kitchen");
        responders.push(builder.serve(greeter()).await.unwrap());
    }
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    for _ in 0..30 {
        call(&requester, to("greet/anna")).await.unwrap();
    }
    for responder in responders {
        assert_eq!(responder.stats().received, 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_calls_from_many_threads_are_answered_out_of_order() {
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = Arc::clone(&gate);
        move |request: Request| {
            let gate = Arc::clone(&gate);
            async move {
                // Even numbers wait until the odd ones are done.
                if request.payload().last().is_some_and(|digit| digit % 2 == 0) {
                    gate.acquire().await.unwrap().forget();
                }
                request.payload().clone()
            }
        }
    };
    let (a, b) = memory::pair();
    let router = Router::new().route("ask", handler);
    let _responder = Responder::builder(b).concurrency(2000).serve(router).await.unwrap();
    let requester = Requester::builder(a).build().await.unwrap();
    let odd_done = Arc::new((AtomicUsize::new(0), Notify::new()));
    let calls = (0..1000).map(|n| {
        let call = call(&requester, Request::new("ask", n.to_string()).unwrap());
        let odd_done = Arc::clone(&odd_done);
        tokio::spawn(async move {
            assert_eq!(call.await.unwrap().payload(), &n.to_string());
            if n % 2 == 1 && odd_done.0.fetch_add(1, Ordering::SeqCst) + 1 == 500 {
                odd_done.1.notify_one();
            }
        })
    });
    let calls: Vec<_> = calls.collect();
    odd_done.1.notified().await;
    gate.add_permits(500);
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(requester.stats().answered, 1000);
    assert_eq!(requester.stats().in_flight, 0);
}

fn is_ready(requester: &mut Requester) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    requester.poll_ready(&mut cx).is_ready()
}

#[tokio::test(start_paused = true)]
async fn poll_ready_reserves_a_slot_and_a_clone_does_not_inherit_it() {
    let (a, b) = memory::pair();
    let _responder = Responder::builder(b).serve(greeter()).await.unwrap();
    let mut first = Requester::builder(a).max_in_flight(1).build().await.unwrap();
    assert!(is_ready(&mut first));
    assert!(is_ready(&mut first), "it keeps the one that it has");
    assert_eq!(first.stats().in_flight, 1);
    let mut second = first.clone();
    assert!(!is_ready(&mut second), "a clone has none, and there is no other");
    drop(second);
    let call = first.call(to("greet/anna"));
    assert!(!is_ready(&mut first), "the call has it");
    call.await.unwrap();
    assert!(is_ready(&mut first));
    let mut third = first.clone();
    drop(first);
    assert!(is_ready(&mut third), "given back with the handle");
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_wait_for_a_slot() {
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = Arc::clone(&gate);
        move || {
            let gate = Arc::clone(&gate);
            async move { gate.acquire().await.unwrap().forget() }
        }
    };
    let (a, b) = memory::pair();
    let responder = Responder::builder(b).serve(Router::new().route("wait", handler));
    let responder = responder.await.unwrap();
    let requester = Requester::builder(a).max_in_flight(3).build().await.unwrap();
    let mut calls = Vec::new();
    for _ in 0..10 {
        calls.push(start(&requester, to("wait")).await);
    }
    assert_eq!((requester.stats().in_flight, responder.stats().received), (3, 3));
    gate.add_permits(1);
    until("the next one goes", || responder.stats().received == 4).await;
    settle().await;
    assert_eq!((requester.stats().in_flight, responder.stats().received), (3, 4));
    gate.add_permits(9);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_requester_is_a_tower_service() {
    fn is_send_and_sync<T: Clone + Send + Sync + 'static>(_: &T) {}

    let (_network, requester, _responder) = ask_and_answer(greeter()).await;
    is_send_and_sync(&requester);
    let service: BoxCloneSyncService<Request, Response, RequestError> =
        BoxCloneSyncService::new(requester.clone());
    is_send_and_sync(&service);
    assert_eq!(service.oneshot(to("greet/box")).await.unwrap().payload(), "hi box");

    let mut limited = ServiceBuilder::new()
        .concurrency_limit(1)
        .map_request(|name: &str| to(&format!("greet/{name}")))
        .service(requester.clone());
    for name in ["anna", "ben"] {
        let response = limited.ready().await.unwrap().call(name).await.unwrap();
        assert_eq!(response.payload(), &format!("hi {name}"));
    }
    drop(limited);
    assert_eq!(requester.stats().in_flight, 0);
}
