//! A broker that is killed and started again under load. A program of its own, because it counts
//! threads and file descriptors.
#![cfg(all(feature = "ntex", target_os = "linux"))]

#[path = "end_to_end/broker.rs"]
#[macro_use]
mod broker;
#[path = "support/mosquitto.rs"]
mod mosquitto;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tower::ServiceExt;
use tower_mqtt::requester::OnDisconnect;
use tower_mqtt::{Request, RequestError, Requester, Responder, Response, Router};

use self::broker::{Broker, Kind};

const KINDS: [Kind; 3] = [Kind::Mosquitto, Kind::Hub(1), Kind::Hub(2)];

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future).await.expect("it happens soon")
}

fn count(directory: &str) -> usize {
    std::fs::read_dir(directory).expect("Linux").count()
}

/// Threads and file descriptors of this program.
fn resources() -> (usize, usize) {
    (count("/proc/self/task"), count("/proc/self/fd"))
}

fn request(topic: &str) -> Request {
    Request::new(topic, "").expect("a topic name")
}

/// Both tests count, so they take turns.
#[tokio::test]
async fn a_broker_that_is_killed_and_started_again() {
    for kind in KINDS {
        every_call_ends_and_later_ones_work(kind).await;
        calls_that_ride_through_are_answered_after_the_restart(kind).await;
    }
    // Whatever is made once is there now: the runtime's own threads for files and names.
    let before = resources();
    for kind in KINDS {
        every_call_ends_and_later_ones_work(kind).await;
        calls_that_ride_through_are_answered_after_the_restart(kind).await;
    }
    // A thread that was joined is shown for a moment longer.
    soon(async {
        while resources().0 > before.0 || resources().1 > before.1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn every_call_ends_and_later_ones_work(kind: Kind) {
    let mut broker = Broker::start(kind).await;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let router = Router::new().route("quick", async || "answer").route("never", async move || {
        let _ = arrived.send(());
        std::future::pending::<&str>().await
    });
    let responder = Responder::builder(broker.responder_link("responder").await).serve(router);
    let responder = responder.await.expect("subscribed");
    let requester = Requester::builder(broker.link().await).build().await.expect("subscribed");

    let never: Vec<_> =
        (0..50).map(|_| tokio::spawn(requester.clone().oneshot(request("never")))).collect();
    for _ in 0..50 {
        soon(arrivals.recv()).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (outcome, mut outcomes) = mpsc::unbounded_channel();
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let (requester, stop, outcome) =
                (requester.clone(), Arc::clone(&stop), outcome.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let result = soon(requester.clone().oneshot(request("quick"))).await;
                    let _ = outcome.send(result.map(Response::into_payload));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    while soon(outcomes.recv()).await.is_some_and(|result| result.is_err()) {}

    broker.kill();
    // What was in flight ends at once.
    for call in never {
        let error = soon(call).await.expect("no panic").expect_err("the broker is gone");
        assert!(matches!(error, RequestError::Disconnected(_)), "{error:?}");
    }
    while soon(outcomes.recv()).await.is_some_and(|result| result.is_ok()) {}
    broker.restart().await;
    // First errors, then answers again.
    while soon(outcomes.recv()).await.is_some_and(|result| result.is_err()) {}
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        soon(caller).await.expect("no panic, no hang");
    }
    assert!(soon(requester.link().connected()).await && soon(responder.link().connected()).await);
    for _ in 0..10 {
        let response = soon(requester.clone().oneshot(request("quick"))).await;
        assert_eq!(response.expect("answered").payload(), "answer");
    }
    assert_eq!(requester.stats().in_flight, 0);
    // The handlers of the lost calls ran into nobody: they end with their responder.
    soon(responder.shutdown(Duration::ZERO)).await;
}

async fn calls_that_ride_through_are_answered_after_the_restart(kind: Kind) {
    let mut broker = Broker::start(kind).await;
    let router = Router::new().route("quick", async || "answer");
    let link = broker.responder_link("responder").await;
    let _responder = Responder::builder(link.clone()).serve(router).await.expect("subscribed");
    let requester = Requester::builder(broker.link().await)
        .on_disconnect(OnDisconnect::RideThrough)
        .build()
        .await
        .expect("subscribed");
    broker.kill();
    soon(requester.link().disconnected()).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            // The responder may be back after the requester: then nobody is subscribed yet.
            let requester = requester.clone();
            tokio::spawn(async move {
                loop {
                    let request = request("quick").timeout(Duration::from_secs(50)).idempotent();
                    match requester.clone().oneshot(request).await {
                        Err(RequestError::NoResponder) => tokio::task::yield_now().await,
                        result => break result,
                    }
                }
            })
        })
        .collect();
    broker.restart().await;
    for call in calls {
        let response = soon(call).await.expect("no panic").expect("answered");
        assert_eq!(response.payload(), "answer");
    }
    assert_eq!(requester.stats().in_flight, 0);
}
