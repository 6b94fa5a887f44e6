//! The README's table of bounds says what the defaults are, in every row: those that the API shows are
//! asked for, those that it does not are read from the source.

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

/// How a constant is written in the table.
type Written = fn(usize) -> String;

const COUNT: Written = grouped;
const KIB: Written = |bytes| format!("{} KiB", bytes / 1024);
const SECONDS: Written = |seconds| format!("{seconds} s");
const HEADERS: Written = |count| format!("{count} headers");
const BYTES: Written = |count| format!("{} bytes", grouped(count));

/// Row, file, constant.
const OF_THE_SOURCE: &[(&str, &str, &str, Written)] = &[
    ("requesters and responders being attached", "src/link/mod.rs", "ORDER_QUEUE", COUNT),
    ("events waiting for an in-memory link", "src/link/memory/state.rs", "INBOX", COUNT),
    ("devices that are busy at once", "src/requester/turns.rs", "TAKEN", COUNT),
    ("requests of which a requester counts", "src/requester/loops.rs", "WATCHED", COUNT),
    ("WebSocket frame", "src/link/ntex/connect/web_socket.rs", "MIN_FRAME_CAP", KIB),
    ("hub: connections in the handshake", "src/hub/listener/entrance.rs", "IN_HANDSHAKE", COUNT),
    ("hub: WebSocket frame", "src/hub/transport/ws.rs", "FRAME", KIB),
    ("hub: request that opens", "src/hub/transport/ws.rs", "LONGEST_REQUEST", KIB),
    ("hub: bytes that wait", "src/hub/transport/frames.rs", "WAITING", KIB),
    ("hub: topic aliases", "src/hub/session/v5/aliases.rs", "MAXIMUM", COUNT),
    ("hub: a client that takes nothing", "src/hub/session/mod.rs", "WRITE_BUFFER", KIB),
    ("hub: bytes of a name", "src/hub/devices.rs", "LONGEST_NAME", COUNT),
    ("hub: messages within", "src/hub/loops.rs", "MESSAGES", COUNT),
    ("hub: messages within", "src/hub/loops.rs", "WINDOW", SECONDS),
    ("hub: presence changes", "src/hub/presence.rs", "BACKLOG", COUNT),
    ("gateway: head of", "src/gateway/http/connection.rs", "HEAD", KIB),
    ("gateway: head of", "src/gateway/http/tests/connections.rs", "HEADERS", HEADERS),
    ("gateway: path and query", "src/gateway/http/tests/connections.rs", "TARGET", BYTES),
    ("gateway: time for a TLS handshake", "src/gateway/http/server.rs", "SHORT", SECONDS),
    ("gateway: time for the body", "src/gateway/http/server.rs", "LONG", SECONDS),
    ("gateway: time in which", "src/gateway/http/server.rs", "LONG", SECONDS),
    ("gateway: signed requests", "src/gateway/http/vendor/replay.rs", "CAPACITY", COUNT),
    ("gateway: devices in one list", "src/gateway/http/devices.rs", "MOST", COUNT),
    ("gateway: streams of ended calls", "src/gateway/http/calls.rs", "STREAMS", COUNT),
    ("gateway: ended calls that", "src/gateway/ended.rs", "WAITING", COUNT),
    ("gateway: devices that are known", "src/gateway/devices/roster/table.rs", "LOST", COUNT),
    ("gateway: gateways in a cluster", "src/gateway/cluster/members.rs", "MAX_MEMBERS", COUNT),
];

/// What others decide.
const WITHOUT_A_NUMBER: [&str; 2] =
    ["messages at QoS 1 without an acknowledgement", "short ids (`IdFormat::Short`)"];

/// A constant by its place in the source: a product of numbers, the first of a pair, or whole seconds.
fn constant(file: &str, name: &str) -> usize {
    let path = [env!("CARGO_MANIFEST_DIR"), file].join("/");
    let text = std::fs::read_to_string(path).expect(file);
    let found = text.lines().find_map(|line| line.split_once(&format!("const {name}: ")));
    let (_, definition) = found.unwrap_or_else(|| panic!("{file} has no {name}"));
    let (_, value) = definition.split_once(" = ").expect("a value");
    let value = value.trim_end_matches(';').trim_start_matches('(');
    let value = value.split(',').next().unwrap_or_default();
    let value =
        value.strip_prefix("Duration::from_secs(").map_or(value, |it| it.trim_end_matches(')'));
    let factors = value.split(" * ").map(|factor| factor.replace('_', ""));
    factors.map(|it| it.parse::<usize>().unwrap_or_else(|_| panic!("{name}: {value}"))).product()
}

#[test]
fn of_what_the_api_does_not_show() {
    for (begin, file, name, written) in OF_THE_SOURCE {
        assert_says(begin, &written(constant(file, name)));
    }
}

/// Each is named in this file.
#[test]
fn no_row_is_left_out() {
    let table = include_str!("../README.md").split("## Bounds\n").nth(1).expect("a table");
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows: Vec<_> = rows.map_while(|line| line.strip_prefix("| ")).collect();
    assert!(rows.len() > 40, "{}", rows.len());
    let named: Vec<_> =
        include_str!("bounds.rs").split('"').filter(|text| text.len() > 7).collect();
    for row in rows {
        assert!(named.iter().any(|begin| row.starts_with(begin)), "{row}");
    }
    for begin in WITHOUT_A_NUMBER {
        row(begin);
    }
}

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
    let busy = constant("src/requester/turns.rs", "TAKEN");
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
    for first in (0..busy).step_by(AT_ONCE) {
        for call in (first..first + AT_ONCE).map(call).collect::<Vec<_>>() {
            assert_eq!(call.await.unwrap().unwrap_err(), RequestError::Timeout);
        }
    }
    assert_eq!(call(busy).await.unwrap().unwrap_err(), RequestError::Overloaded);
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
    assert_says("gateway: signed requests", &format!("{minutes} min"));
}

#[cfg(feature = "ntex")]
#[test]
fn of_the_client_and_the_hub() {
    use tower_mqtt::core::subscriptions::bytes;
    use tower_mqtt::core::topic::TopicFilter;
    use tower_mqtt::{Client, Hub};

    let client = format!("{:?}", Client::builder("mqtt://127.0.0.1"));
    assert!(client.contains(&format!("maximum_packet_size: {MIB},")), "{client}");
    assert_says("packet that a client accepts", "1 MiB");

    let mut seen = None;
    let _ = Hub::builder().limits(|limits| seen = Some(*limits));
    let limits = seen.expect("the closure was called");
    let waiting = limits.queued_bytes / MIB;
    let filter = TopicFilter::new("a/b").expect("a filter");
    let level = (bytes(&filter) - filter.as_str().len()) / 2;
    for (begin, value) in [
        ("hub: connections", grouped(limits.connections)),
        ("hub: time for the handshake", format!("{} s", limits.handshake.as_secs())),
        ("hub: packet", format!("{} MiB", limits.packet as usize / MIB)),
        ("hub: unacknowledged messages", grouped(limits.receive_maximum.into())),
        ("hub: subscriptions", grouped(limits.subscriptions)),
        ("hub: subscriptions", format!("{} KiB", limits.subscription_bytes / 1024)),
        ("hub: subscriptions", format!("{level} bytes")),
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
