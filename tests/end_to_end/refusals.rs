//! What the broker says no to, and what it has nobody for: an error at once, never a wait.

use std::time::{Duration, Instant};

use tower_mqtt::core::packet::ReasonCode;
use tower_mqtt::{Delivery, RequestError, Requester, Responder, Router, ServeError};

use super::broker::{Broker, Kind};
use super::{call, request, requester, soon};

over_every_transport! {
    nobody_subscribed_is_said_at_once,
    a_request_that_may_not_be_published_is_rejected_at_once,
    a_route_that_may_not_be_subscribed_to_is_said_at_once,
    answers_that_may_not_be_subscribed_to_are_said_at_once,
}

/// Far less than the default timeout of a call.
const AT_ONCE: Duration = Duration::from_secs(5);

async fn nobody_subscribed_is_said_at_once(kind: Kind) {
    let broker = Broker::start(kind).await;
    let requester = requester(broker.link().await).await;
    let started = Instant::now();
    let error = call(&requester, request("nobody", "")).await.expect_err("nobody is there");
    assert_eq!(error, RequestError::NoResponder);
    assert_eq!(error.delivery(), Delivery::NotDelivered);
    assert!(started.elapsed() < AT_ONCE);
    assert_eq!(requester.stats().in_flight, 0);
}

async fn a_request_that_may_not_be_published_is_rejected_at_once(kind: Kind) {
    let broker = Broker::with_access_control(kind).await;
    let requester = requester(broker.link().await).await;
    let started = Instant::now();
    let error = call(&requester, request("forbidden/q", "")).await.err();
    assert_eq!(error, Some(RequestError::Rejected(ReasonCode::NOT_AUTHORIZED)));
    assert!(started.elapsed() < AT_ONCE);
}

async fn a_route_that_may_not_be_subscribed_to_is_said_at_once(kind: Kind) {
    let broker = Broker::with_access_control(kind).await;
    let router = Router::new().route("open", async || "a").route("forbidden/{q}", async || "b");
    // Links of the hub's own process may do everything.
    let refused = soon(Responder::builder(broker.link().await).serve(router)).await;
    match refused.map(drop) {
        Err(ServeError::Subscribe { filter, reason: ReasonCode::NOT_AUTHORIZED }) => {
            assert_eq!(filter.as_str(), "forbidden/+");
        }
        other => panic!("{other:?}"),
    }
}

async fn answers_that_may_not_be_subscribed_to_are_said_at_once(kind: Kind) {
    let broker = Broker::with_access_control(kind).await;
    let link = broker.client().client_id("no-answers").connect().await.expect("accepted");
    let refused = soon(Requester::builder(link).build()).await;
    let refused = refused.map(drop).expect_err("not allowed");
    assert!(
        matches!(refused, ServeError::Subscribe { reason: ReasonCode::NOT_AUTHORIZED, .. }),
        "{refused:?}"
    );
}
