//! The same tests through every broker: a real mosquitto and the hub, over real sockets; and with
//! the responder in the hub's own process.
#![cfg(all(feature = "ntex", feature = "json"))]

#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/raw.rs"]
mod raw;

#[path = "end_to_end/broker.rs"]
#[macro_use]
mod broker;

#[path = "end_to_end/calls.rs"]
mod calls;
#[path = "end_to_end/deadlines.rs"]
mod deadlines;
#[path = "end_to_end/foreign_requests.rs"]
mod foreign_requests;
#[path = "end_to_end/payloads.rs"]
mod payloads;
#[path = "end_to_end/refusals.rs"]
mod refusals;

use std::future::Future;
use std::time::Duration;

use tower::ServiceExt;
use tower_mqtt::{Link, Request, RequestError, Requester, Responder, Response, Router};

/// Nothing here may take longer.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it happens soon")
}

async fn requester(link: Link) -> Requester {
    soon(Requester::builder(link).build()).await.expect("subscribed to the answers")
}

async fn serve(link: Link, router: Router) -> Responder {
    soon(Responder::builder(link).concurrency(1000).serve(router)).await.expect("subscribed")
}

fn request(topic: &str, payload: impl Into<bytes::Bytes>) -> Request {
    Request::new(topic, payload).expect("a topic name")
}

async fn call(requester: &Requester, request: Request) -> Result<Response, RequestError> {
    soon(requester.clone().oneshot(request)).await
}

/// Waits until no call holds a slot: a caller may know of its timeout before the connection does.
async fn idle(requester: &Requester) {
    soon(async {
        while requester.stats().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
