//! The README's table of bounds says what the defaults are.

use std::time::{Duration, Instant};

use tower::ServiceExt;
use tower_mqtt::core::exchange::Exchanges;
use tower_mqtt::core::inbox::InboxLimits;
use tower_mqtt::core::packet::Qos;
use tower_mqtt::layer::RateLimitLayer;
use tower_mqtt::link::{OutgoingLimits, memory};
use tower_mqtt::requester::OneInFlight;
use tower_mqtt::{Request, RequestError, Requester, Responder};

/// What the README says in the row that begins so.
fn row(begin: &str) -> &'static str {
    let mut lines = include_str!("../README.md").lines();
    lines.find(|line| line.starts_with(&format!("| {begin}"))).expect(begin)
}

/// With commas, as it is written there.
fn grouped(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

fn assert_says(begin: &str, value: &str) {
    let row = row(begin);
    assert!(row.contains(&format!(" {value} ")) || row.contains(&format!(" {value}, ")), "{row}");
}

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn of_links_requesters_and_responders() {
    let OutgoingLimits { messages, bytes } = OutgoingLimits::default();
    let outgoing = format!("{} messages, {} MiB", grouped(messages), bytes / MIB);
    assert_says("messages waiting to be sent on a link", &outgoing);

    let (link, _) = memory::pair();
    let requester = format!("{:?}", Requester::builder(link.clone()));
    assert!(requester.contains("max_in_flight: 1024,"), "{requester}");
    assert_says("calls in flight", &grouped(1024));
    let responder = format!("{:?}", Responder::builder(link));
    assert!(responder.contains("concurrency: 256,"), "{responder}");
    assert_says("requests that a responder handles at once", "256");
}

#[test]
fn of_the_exchange_table() {
    let mut exchanges = Exchanges::with_capacity_limit(1000);
    let mut start = || exchanges.start("id".into(), Instant::now(), ()).is_ok();
    let sharing = (0..1000).take_while(|_| start()).count();
    assert_says("calls that share correlation data", &grouped(sharing));
}

#[tokio::test(start_paused = true)]
async fn of_busy_devices() {
    const AT_ONCE: usize = 1024;
    const BUSY: usize = 65_536;
    let (link, _peer) = memory::pair();
    let requester = Requester::builder(link)
        .one_in_flight(OneInFlight::PerAddress)
        .rest(Duration::from_hours(1))
        .build()
        .await
        .unwrap();
    let call = |device: usize| {
        let request = Request::new(format!("devices/{device}"), "").unwrap();
        let request = request.qos(Qos::AtMostOnce).timeout(Duration::from_millis(1));
        tokio::spawn(requester.clone().oneshot(request))
    };
    // Nobody answers, so that each is at rest afterwards.
    for first in (0..BUSY).step_by(AT_ONCE) {
        for call in (first..first + AT_ONCE).map(call).collect::<Vec<_>>() {
            assert_eq!(call.await.unwrap().unwrap_err(), RequestError::Timeout);
        }
    }
    assert_eq!(call(BUSY).await.unwrap().unwrap_err(), RequestError::Overloaded);
    assert_says("devices that are busy at once", &grouped(BUSY));
}

#[test]
fn of_the_layers() {
    let InboxLimits { entries, bytes, age, joined } = InboxLimits::default();
    assert_says("copies that wait for a request", &grouped(joined));

    let rate = format!("{:?}", RateLimitLayer::new(1, Duration::from_secs(1)));
    assert!(rate.contains("callers: 65536,"), "{rate}");
    assert_says("callers that `RateLimitLayer` knows", &grouped(65_536));
    let minutes = age.as_secs() / 60;
    let remembered = format!("{}, {} MiB, {minutes} min", grouped(entries), bytes / MIB);
    assert_says("requests that `DedupLayer` remembers", &remembered);
}

#[cfg(feature = "gateway")]
#[test]
fn of_the_gateway() {
    use tower_mqtt::gateway::Config;

    let Config { http, limits, .. } = Config::default();
    let calls = [limits.in_flight, limits.per_device, limits.per_key].map(grouped).join(", ");
    assert_says("gateway: calls in flight", &calls);
    assert_says("gateway: HTTP connections", &grouped(http.connections));
    assert_says("gateway: body", &format!("{} KiB", http.body / 1024));
    let minutes = http.replay_window.as_secs() / 60;
    assert_says("gateway: signed requests", &format!("1,000,000, {minutes} min"));
}

#[cfg(feature = "ntex")]
#[test]
fn of_the_client_and_the_hub() {
    use tower_mqtt::{Client, Hub};

    let client = format!("{:?}", Client::builder("mqtt://127.0.0.1"));
    assert!(client.contains(&format!("maximum_packet_size: {MIB},")), "{client}");
    assert_says("packet that a client accepts", "1 MiB");

    let mut seen = None;
    let _ = Hub::builder().limits(|limits| seen = Some(*limits));
    let limits = seen.expect("the closure was called");
    let waiting = limits.queued_bytes / MIB;
    for (begin, value) in [
        ("hub: connections", grouped(limits.connections)),
        ("hub: time for the handshake", format!("{} s", limits.handshake.as_secs())),
        ("hub: packet", format!("{} MiB", limits.packet as usize / MIB)),
        ("hub: unacknowledged messages", grouped(limits.receive_maximum.into())),
        ("hub: subscriptions", grouped(limits.subscriptions)),
        ("hub: subscriptions", format!("{} KiB", limits.subscription_bytes / 1024)),
        (
            "hub: messages waiting",
            format!("{} messages, {waiting} MiB", grouped(limits.queued_messages)),
        ),
        ("hub: messages between", grouped(limits.between_workers)),
        ("hub: a client that takes nothing", format!("{} s", limits.stalled.as_secs())),
        ("hub: levels", grouped(limits.filter_levels)),
    ] {
        assert_says(begin, &value);
    }
}
