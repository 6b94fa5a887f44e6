//! One deadline from end to end.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tower::ServiceExt;
use tower_mqtt::responder::extract::Deadline;
use tower_mqtt::{Cancellation, Request, RequestError, Router, current_deadline};

use super::broker::{Broker, Kind};
use super::raw::{Connect, Properties, Raw, property};
use super::{call, idle, request, requester, serve, soon};

over_every_transport! {
    a_call_ends_at_its_deadline,
    the_handler_ends_with_its_caller,
    a_nested_call_inherits_what_is_left,
    an_expired_request_never_reaches_the_handler,
}

/// How late a deadline may be noticed on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

async fn a_call_ends_at_its_deadline(kind: Kind) {
    let broker = Broker::start(kind).await;
    let router = Router::new().route("never", async || std::future::pending::<&str>().await);
    let _responder = serve(broker.responder_link("responder").await, router).await;
    let requester = requester(broker.link().await).await;
    for millis in [20, 300, 1200] {
        let timeout = Duration::from_millis(millis);
        let started = Instant::now();
        let error = call(&requester, request("never", "").timeout(timeout)).await.err();
        let elapsed = started.elapsed();
        assert_eq!(error, Some(RequestError::Timeout));
        assert!(timeout <= elapsed && elapsed < timeout + SLACK, "{millis} ms: {elapsed:?}");
    }
    let past = Instant::now();
    let error = call(&requester, request("never", "").deadline(past)).await.err();
    assert_eq!(error, Some(RequestError::Timeout));
    idle(&requester).await;
}

/// Says when it is dropped.
struct Dropped(mpsc::UnboundedSender<Instant>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(Instant::now());
    }
}

async fn the_handler_ends_with_its_caller(kind: Kind) {
    let broker = Broker::start(kind).await;
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let (cancelled, mut cancels) = mpsc::unbounded_channel();
    let router = Router::new().route("never", async move |cancellation: Cancellation| {
        let cancelled = cancelled.clone();
        tokio::spawn(async move {
            cancellation.cancelled().await;
            let _ = cancelled.send(());
        });
        let _dropped = Dropped(dropped.clone());
        std::future::pending::<&str>().await
    });
    let responder = serve(broker.responder_link("responder").await, router).await;
    let requester = requester(broker.link().await).await;
    let timeout = Duration::from_millis(400);
    let started = Instant::now();
    let error = call(&requester, request("never", "").timeout(timeout)).await.err();
    assert_eq!(error, Some(RequestError::Timeout));
    let ended = soon(drops.recv()).await.expect("dropped") - started;
    // Later by the time that the request was on its way, earlier by what is lost in whole
    // milliseconds.
    let earliest = timeout.saturating_sub(Duration::from_millis(2));
    assert!(earliest <= ended && ended < timeout + SLACK, "{ended:?}");
    soon(cancels.recv()).await.expect("cancelled");
    soon(async {
        while responder.stats().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stats = responder.stats();
    assert_eq!((stats.received, stats.answered, stats.expired), (1, 0, 1));
}

async fn a_nested_call_inherits_what_is_left(kind: Kind) {
    let broker = Broker::start(kind).await;
    let link = broker.responder_link("outer").await;
    let nested = requester(link.clone()).await;
    let outer = Router::new().route("outer", async move || {
        let mine = current_deadline().expect("the caller's");
        let request = request("inner", "").timeout(Duration::from_hours(1));
        let response = nested.clone().oneshot(request).await.expect("answered");
        let left = mine.saturating_duration_since(Instant::now());
        format!("{} {}", left.as_millis(), String::from_utf8_lossy(response.payload()))
    });
    let inner = Router::new().route("inner", async |Deadline(deadline): Deadline| {
        let deadline = deadline.expect("the caller's");
        deadline.saturating_duration_since(Instant::now()).as_millis().to_string()
    });
    let _outer = serve(link, outer).await;
    let _inner = serve(broker.responder_link("inner").await, inner).await;
    let requester = requester(broker.link().await).await;
    let request = request("outer", "").timeout(Duration::from_secs(20));
    let response = call(&requester, request).await.expect("answered");
    let text = String::from_utf8_lossy(response.payload()).into_owned();
    let left: Vec<u64> = text.split(' ').map(|part| part.parse().expect("a number")).collect();
    assert!((1..=20_000).contains(&left[0]) && (1..=20_000).contains(&left[1]), "{text}");
}

async fn an_expired_request_never_reaches_the_handler(kind: Kind) {
    let broker = Broker::start(kind).await;
    let router = Router::new().route("q", async |request: Request| request.payload().clone());
    let responder = serve(broker.responder_link("responder").await, router).await;
    // What was on the way for longer than its caller waits, seen from the responder.
    let mut raw = Raw::connect(broker.address(), &Connect::new("raw")).await;
    let answers = "clients/raw/responses";
    assert_eq!(raw.subscribe(answers, 1).await, 1);
    for (timeout, payload) in [("0", b"expired"), ("20000", b"in time")] {
        let properties =
            Properties::none().text(property::RESPONSE_TOPIC, answers).pair("timeout-ms", timeout);
        raw.publish(0x30, "q", payload, &properties).await;
    }
    assert_eq!(raw.message().await.payload, b"in time");
    let stats = responder.stats();
    assert_eq!((stats.received, stats.expired), (1, 1));
}

/// Every request carries its deadline, so that a broker that keeps requests for a responder that is
/// away does not keep them for longer than their callers wait.
#[tokio::test]
async fn a_request_that_expires_in_the_broker_is_not_delivered() {
    let broker = Broker::start(Kind::Mosquitto).await;
    let kept = Properties::none().number(property::SESSION_EXPIRY, 60);
    let connect = Connect::new("responder").properties(kept);
    let mut away = Raw::connect(broker.address(), &connect).await;
    assert_eq!(away.subscribe("q", 1).await, 1);
    away.disconnect().await;
    assert_eq!(away.read().await, None);
    let requester = requester(broker.link().await).await;
    // The second is there to let time pass: mosquitto counts in whole seconds.
    for (payload, millis) in [("expired", 1000), ("perhaps", 1500)] {
        let request = request("q", payload).timeout(Duration::from_millis(millis));
        assert_eq!(call(&requester, request).await.err(), Some(RequestError::Timeout));
    }
    let waiting = tokio::spawn(async move { call(&requester, request("q", "in time")).await });
    let (mut back, _) = Raw::try_connect(broker.address(), &connect.resume()).await;
    let mut message = back.message().await;
    if message.payload == b"perhaps" {
        message = back.message().await;
    }
    assert_eq!(message.payload, b"in time");
    let text = |id| message.properties.find_text(id).expect("written by the requester");
    let answers = Properties::none().raw(
        property::CORRELATION_DATA,
        message.properties.find(property::CORRELATION_DATA).expect("written by the requester"),
    );
    back.publish(0x30, &text(property::RESPONSE_TOPIC), b"seen", &answers).await;
    let response = soon(waiting).await.expect("no panic").expect("answered");
    assert_eq!(response.payload(), "seen");
}
