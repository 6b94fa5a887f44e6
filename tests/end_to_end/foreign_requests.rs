//! Requests of a client that knows nothing of this crate, and those that are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tower_mqtt::Router;
use tower_mqtt::responder::extract::Json;

use super::broker::{Broker, Kind};
use super::raw::{Connect, Packet, Properties, Raw, property};
use super::{serve, soon};

over_every_transport_of_the_hub! {
    a_response_topic_that_is_not_allowed_is_never_published_to,
    a_huge_response_topic_is_as_good_as_any,
    a_retained_request_is_refused,
    correlation_data_may_be_missing,
    a_message_without_a_response_topic_is_not_a_request,
    failures_are_told_as_a_status,
}

fn to(response_topic: &str) -> Properties {
    Properties::none().text(property::RESPONSE_TOPIC, response_topic)
}

async fn raw(broker: &Broker, client_id: &str) -> Raw {
    let mut raw = Raw::connect(broker.address(), &Connect::new(client_id)).await;
    assert_eq!(raw.subscribe(&format!("clients/{client_id}/responses"), 1).await, 1);
    raw
}

async fn a_response_topic_that_is_not_allowed_is_never_published_to(kind: Kind) {
    let broker = Broker::start(kind).await;
    let handled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&handled);
    let router = Router::new().route("echo/{what}", async move || {
        counter.fetch_add(1, Ordering::Relaxed);
        "hello"
    });
    let responder = serve(broker.responder_link("responder").await, router).await;
    let mut spy = Raw::connect(broker.address(), &Connect::new("spy")).await;
    for everything in ["#", "$SYS/answers", "$other/#"] {
        assert_eq!(spy.subscribe(everything, 0).await, 0);
    }
    let bad = ["a/#", "+/b", "", "$SYS/answers", "$other/a", "echo/again"];
    for response_topic in bad {
        // A broker may close the connection of who breaks the protocol.
        let mut sender = Raw::connect(broker.address(), &Connect::new("sender")).await;
        sender.publish(0x32, "echo/1", b"bad", &to(response_topic)).await;
        match sender.read().await {
            Some(Packet::PubAck { .. } | Packet::Disconnect { .. }) | None => {}
            Some(other) => panic!("{other:?}"),
        }
    }
    let mut good = raw(&broker, "good").await;
    good.publish(0x30, "echo/1", b"good", &to("clients/good/responses")).await;
    assert_eq!(good.message().await.payload, b"hello");
    assert_eq!(handled.load(Ordering::Relaxed), 1);
    assert!(responder.stats().forbidden >= 3, "{:?}", responder.stats());
    // The spy saw the requests, and no answer to them.
    loop {
        let message = soon(spy.message()).await;
        assert_eq!(message.topic, "echo/1", "{message:?}");
        if message.payload == b"good" {
            break;
        }
    }
}

async fn a_huge_response_topic_is_as_good_as_any(kind: Kind) {
    let broker = Broker::start(kind).await;
    let router = Router::new().route("q", async || "answer");
    let _responder = serve(broker.responder_link("responder").await, router).await;
    let mut raw = raw(&broker, "raw").await;
    let huge = format!("answers/{}", "h".repeat(60_000));
    assert_eq!(raw.subscribe(&huge, 0).await, 0);
    raw.publish(0x30, "q", b"", &to(&huge)).await;
    assert_eq!(raw.message().await.topic, huge);
}

async fn a_retained_request_is_refused(kind: Kind) {
    let broker = Broker::start(kind).await;
    let mut sender = raw(&broker, "sender").await;
    let answers = to("clients/sender/responses");
    // Retained before anybody is subscribed.
    sender.publish(0x33, "early", b"", &answers).await;
    let refused = !matches!(sender.read().await, Some(Packet::PubAck { .. }));
    let router = Router::new().route("early", async || "handled").route("now", async || "handled");
    let responder = serve(broker.responder_link("responder").await, router).await;
    let mut sender = raw(&broker, "sender").await;
    if kind == Kind::Mosquitto {
        assert!(!refused);
        sender.publish(0x31, "now", b"", &answers).await;
        let answer = sender.message().await;
        assert_eq!(answer.properties.user("status").as_deref(), Some("400"), "{answer:?}");
    } else {
        // The hub says so itself.
        assert!(refused);
        sender.publish(0x31, "now", b"", &answers).await;
        assert_eq!(sender.read().await, Some(Packet::Disconnect { reason: 0x9A }));
    }
    let mut sender = raw(&broker, "sender").await;
    sender.publish(0x30, "now", b"", &answers).await;
    assert_eq!(sender.message().await.payload, b"handled");
    assert_eq!(responder.stats().received, 1);
}

async fn correlation_data_may_be_missing(kind: Kind) {
    let broker = Broker::start(kind).await;
    let router = Router::new().route("q", async || "answer");
    let _responder = serve(broker.responder_link("responder").await, router).await;
    let mut raw = raw(&broker, "raw").await;
    for correlation_data in [None, Some(""), Some("42")] {
        let mut properties = to("clients/raw/responses");
        if let Some(data) = correlation_data {
            properties = properties.text(property::CORRELATION_DATA, data);
        }
        raw.publish(0x30, "q", b"", &properties).await;
        let answer = raw.message().await;
        assert_eq!(answer.payload, b"answer");
        let echoed = answer.properties.find_text(property::CORRELATION_DATA);
        assert_eq!(echoed.as_deref(), correlation_data);
        assert_eq!(answer.properties.user("status"), None);
    }
}

async fn a_message_without_a_response_topic_is_not_a_request(kind: Kind) {
    let broker = Broker::start(kind).await;
    let router = Router::new().route("q", async || "answer");
    let responder = serve(broker.responder_link("responder").await, router).await;
    let mut raw = raw(&broker, "raw").await;
    raw.publish(0x30, "q", b"no request", &Properties::none()).await;
    raw.publish(0x30, "q", b"", &to("clients/raw/responses")).await;
    assert_eq!(raw.message().await.payload, b"answer");
    let stats = responder.stats();
    assert_eq!((stats.received, stats.malformed), (1, 1));
}

async fn failures_are_told_as_a_status(kind: Kind) {
    let broker = Broker::start(kind).await;
    let router = Router::new()
        .route("panics/{n}", async || -> &'static str { panic!("on purpose") })
        .route("number", async |Json(number): Json<u32>| number.to_string());
    let _responder = serve(broker.responder_link("responder").await, router).await;
    let mut raw = raw(&broker, "raw").await;
    let answers = to("clients/raw/responses");
    for (topic, payload, expected) in [
        ("panics/1", &b""[..], Some("500")),
        ("number", b"not json", Some("400")),
        ("number", b"7", None),
    ] {
        raw.publish(0x30, topic, payload, &answers).await;
        let answer = raw.message().await;
        assert_eq!(answer.properties.user("status").as_deref(), expected, "{topic}");
    }
    let odd = to("clients/raw/responses").pair("timeout-ms", "soon");
    raw.publish(0x30, "number", b"7", &odd).await;
    assert_eq!(raw.message().await.properties.user("status").as_deref(), Some("400"));
}
