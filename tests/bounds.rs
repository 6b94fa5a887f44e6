//! The README's table of bounds says what the defaults are, in every row: those that the API shows are
//! asked for, those that it does not are read from the source. The tables of the documentation say the same.

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
/// Of a table that has an older and a younger half.
const TWICE: Written = |half| grouped(2 * half);
/// Bytes of what is answered at once, and as much again of what is answered later.
const ANSWERS: Written = |bytes| format!("{} KiB", (2 * bytes).div_ceil(1024));
const SECONDS: Written = |seconds| format!("{seconds} s");
const HEADERS: Written = |count| format!("{count} headers");
const BYTES: Written = |count| format!("{} bytes", grouped(count));

/// Row, file, constant.
const OF_THE_SOURCE: &[(&str, &str, &str, Written)] = &[
    ("requesters and responders being attached", "src/link/mod.rs", "ORDER_QUEUE", COUNT),
    ("events waiting for an in-memory link", "src/link/memory/state.rs", "INBOX", COUNT),
    ("devices that are busy at once", "src/requester/turns.rs", "TAKEN", COUNT),
    ("requests of which a requester counts", "src/requester/loops.rs", "WATCHED", COUNT),
    ("short ids", "src/core/short_ids.rs", "AT_REST_OF_A_DEVICE", COUNT),
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
    ("hub: such topics", "src/hub/loops.rs", "TOPICS", TWICE),
    ("hub: connections that wait", "src/hub/listener/unix.rs", "BACKLOG", COUNT),
    ("hub: presence changes", "src/hub/presence.rs", "BACKLOG", COUNT),
    ("gateway: head of", "src/gateway/http/connection.rs", "HEAD", KIB),
    ("gateway: head of", "src/gateway/http/tests/connections.rs", "HEADERS", HEADERS),
    ("gateway: path and query", "src/gateway/http/tests/connections.rs", "TARGET", BYTES),
    ("gateway: time for a TLS handshake", "src/gateway/http/server.rs", "SHORT", SECONDS),
    ("gateway: time for the body", "src/gateway/http/server.rs", "LONG", SECONDS),
    ("gateway: time in which", "src/gateway/http/server.rs", "LONG", SECONDS),
    ("gateway: signed requests", "src/gateway/replay/mod.rs", "CAPACITY", COUNT),
    ("gateway: payload in", "src/gateway/http/vendor/tencent/request.rs", "LONGEST_PAYLOAD", KIB),
    ("gateway: devices in one list", "src/gateway/http/devices.rs", "MOST", COUNT),
    ("gateway: streams of ended calls", "src/gateway/http/calls.rs", "STREAMS", COUNT),
    ("gateway: ended calls that", "src/gateway/ended.rs", "WAITING", COUNT),
    ("gateway: devices that are known", "src/gateway/devices/roster/table.rs", "LOST", COUNT),
    ("gateway: hang-ups", "src/gateway/cluster/hang_ups.rs", "EARLY", SECONDS),
    ("gateway: gateways in a cluster", "src/gateway/cluster/members.rs", "MAX_MEMBERS", COUNT),
];

/// Where the documentation has a table of its own, behind what, and its rows with those of the README.
type Copies = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const COPIES: &[Copies] = &[
    (
        "src/lib.rs",
        "Every queue and table has a bound.",
        &[
            ("[calls in flight]", "calls in flight"),
            ("[busy devices]", "devices that are busy"),
            ("[requests being handled]", "requests that a responder handles"),
        ],
    ),
    (
        "src/link/mod.rs",
        "# Bounds",
        &[
            ("messages waiting to be sent", "messages waiting to be sent"),
            ("QoS 1 messages not acknowledged", "messages at QoS 1 without"),
            ("endpoints being attached", "requesters and responders being attached"),
        ],
    ),
    (
        "src/link/ntex/mod.rs",
        "# Bounds",
        &[
            ("a WebSocket frame that arrives", "WebSocket frame"),
            ("a packet that arrives", "packet that a client accepts"),
        ],
    ),
    (
        "src/hub/mod.rs",
        "# Bounds",
        &[
            ("connections; a listener", "hub: connections, over all"),
            ("connections in the handshake", "hub: connections in the handshake"),
            ("time for each step of the handshake", "hub: time for the handshake"),
            ("time without any progress", "hub: a client that takes nothing"),
            ("packet from a client", "hub: packet"),
            ("request to upgrade", "hub: request that opens"),
            ("WebSocket frame", "hub: WebSocket frame"),
            ("bytes that wait to be written", "hub: bytes that wait"),
            ("unacknowledged messages", "hub: unacknowledged messages"),
            ("topic aliases", "hub: topic aliases"),
            ("subscriptions of a client", "hub: subscriptions"),
            ("bytes of a device's name", "hub: bytes of a name"),
            ("levels of a topic filter", "hub: levels"),
            ("messages waiting for a client", "hub: messages waiting"),
            ("messages between workers", "hub: messages between"),
            ("messages within 10 s", "hub: messages within"),
            ("such topics that are counted", "hub: such topics"),
            ("connections that wait to be accepted", "hub: connections that wait"),
            ("presence changes not read", "hub: presence changes"),
        ],
    ),
];

/// Rows of such tables that the README does not have: row, file, constant.
const BESIDE_THE_README: &[(&str, &str, &str, Written)] = &[
    ("write buffer", "src/link/ntex/connect/mod.rs", "WRITE_HIGH", KIB),
    ("read buffer", "src/link/ntex/connect/mod.rs", "READ_HIGH", KIB),
    ("acknowledgements in it", "src/link/ntex/session.rs", "MOST_ANSWERS", ANSWERS),
    ("messages held without", "src/link/ntex/session.rs", "MOST_UNACKNOWLEDGED", COUNT),
];

/// What others decide.
const WITHOUT_A_NUMBER: [&str; 1] = ["messages at QoS 1 without an acknowledgement"];

/// A constant by its place in the source: a product of numbers, the first of a pair, or whole seconds.
fn constant(file: &str, name: &str) -> usize {
    let path = [env!("CARGO_MANIFEST_DIR"), file].join("/");
    let text = std::fs::read_to_string(path).expect(file);
    let found = text.lines().find_map(|line| line.split_once(&format!("const {name}: ")));
    let (_, definition) = found.unwrap_or_else(|| panic!("{file} has no {name}"));
    let (_, value) = definition.split_once(" = ").expect("a value");
    let value = value.trim_end_matches(';').trim_start_matches('(');
    if value == "u16::MAX as usize" {
        return u16::MAX.into();
    }
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

/// The numbers in what a row is about and in its default, with their units.
fn numbers(row: &str) -> Vec<String> {
    const UNITS: [&str; 4] = ["KiB", "MiB", "s", "min"];
    let cells: Vec<_> = row.trim_start_matches("| ").split(" | ").take(2).collect();
    let text = cells.join(" ");
    let words: Vec<_> = text.split([' ', ';', ')']).map(|word| word.trim_matches(',')).collect();
    let numbers = words.iter().enumerate().filter(|(_, word)| word.starts_with(char::is_numeric));
    let with_units = numbers.map(|(at, number)| match words.get(at + 1) {
        Some(unit) if UNITS.contains(unit) => format!("{number} {unit}"),
        _ => (*number).to_owned(),
    });
    with_units.collect()
}

#[test]
fn of_the_tables_in_the_documentation() {
    for (file, behind, copies) in COPIES {
        let path = [env!("CARGO_MANIFEST_DIR"), *file].join("/");
        let text = std::fs::read_to_string(path).expect(file);
        let (_, section) = text.split_once(behind).expect(behind);
        let lines = section.lines().map(|line| line.trim_start_matches(['/', '!', ' ']));
        let table = lines.skip_while(|line| !line.starts_with("|---")).skip(1);
        let rows: Vec<_> = table.map_while(|line| line.strip_prefix("| ")).collect();
        for (begin, _) in *copies {
            assert!(rows.iter().any(|row| row.starts_with(begin)), "{file}: {begin}");
        }
        for text in rows {
            let said = numbers(text);
            let known = copies.iter().find(|(begin, _)| text.starts_with(begin));
            let own = BESIDE_THE_README.iter().find(|(begin, ..)| text.starts_with(begin));
            match (known, own) {
                (Some((_, begin)), _) => assert_eq!(said, numbers(row(begin)), "{file}: {text}"),
                (None, Some((_, source, name, written))) => {
                    assert_eq!(said, [written(constant(source, name))], "{file}: {text}");
                }
                (None, None) => assert!(said.is_empty(), "{file}: {text}"),
            }
        }
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

    let Config { http, limits, mqtt, .. } = Config::default();
    let calls = [limits.in_flight, limits.per_device, limits.per_key].map(grouped).join(", ");
    assert_says("gateway: calls in flight", &calls);
    let page = include_str!("../src/docs/moving_a_fleet.md");
    let [all, device, key] = [limits.in_flight, limits.per_device, limits.per_key].map(grouped);
    let said = format!("{all} of the gateway, {device} of a device, {key} of a key");
    assert!(page.contains(&said), "{said}");
    let said = format!("{} devices by default", grouped(mqtt.connections));
    assert!(page.contains(&said), "{said}");
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
