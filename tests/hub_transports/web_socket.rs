//! WebSocket as RFC 6455 has it, byte by byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_mqtt::Hub;
use tower_mqtt::hub::Listener;
use tower_mqtt::link::Client;

use super::programs::soon;
use super::raw::{Connect, Packet, Raw, packet, string};
use super::{echo, requester, works};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// This is the last frame of a message.
const FINAL: u8 = 0x80;

const CONNACK: u8 = 2;
const PUBACK: u8 = 4;
const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];

/// The example of RFC 6455 §1.3.
const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

async fn hub(listener: Listener) -> Hub {
    Hub::builder().listen(listener).start().await.expect("started")
}

fn ws() -> Listener {
    Listener::ws("127.0.0.1:0")
}

/// A frame from a client. The mask that changes nothing is one.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).expect("small")),
        length @ 126..65_536 => {
            frame.push(0xFE);
            frame.extend(u16::try_from(length).expect("small").to_be_bytes());
        }
        length => {
            frame.push(0xFF);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A connection, behind its upgrade.
struct Socket {
    stream: TcpStream,
    /// Of MQTT, not looked at yet.
    received: Vec<u8>,
}

impl Socket {
    async fn open(hub: &Hub) -> Self {
        let address = hub.local_addr().expect("bound");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(UPGRADE.as_bytes()).await.expect("sent");
        let head = head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // [MQTT-6.0.0-4], and the example's answer.
        assert!(head.contains("sec-websocket-protocol: mqtt\r\n"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        Self { stream, received: Vec::new() }
    }

    async fn connect(hub: &Hub, connect: &Connect) -> Self {
        let mut socket = Self::open(hub).await;
        socket.send(&frame(FINAL | BINARY, &connect.bytes())).await;
        assert_eq!(socket.packet().await[0] >> 4, CONNACK);
        socket
    }

    async fn send(&mut self, bytes: &[u8]) {
        // What is refused is found when its last words are read.
        let _ = soon(self.stream.write_all(bytes)).await;
    }

    /// The next frame: its first byte and its payload; `None`: the hub has closed the connection.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        soon(async {
            let first = self.stream.read_u8().await.ok()?;
            let length = match self.stream.read_u8().await.ok()? {
                126 => u64::from(self.stream.read_u16().await.ok()?),
                127 => self.stream.read_u64().await.ok()?,
                length => length.into(),
            };
            let mut payload = vec![0; usize::try_from(length).expect("small")];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((first, payload))
        })
        .await
    }

    /// The next packet, whatever frames it comes in. It has less than 128 bytes.
    async fn packet(&mut self) -> Vec<u8> {
        loop {
            if let [_, length, ..] = self.received[..]
                && self.received.len() >= 2 + usize::from(length)
            {
                return self.received.drain(..2 + usize::from(length)).collect();
            }
            let (first, payload) = self.frame().await.expect("a packet");
            assert_eq!(first, FINAL | BINARY);
            self.received.extend(payload);
        }
    }

    /// Whether the connection ends, with this reason (RFC 6455 §7.4.1).
    async fn ends(mut self, reason: u16) {
        let close = (FINAL | CLOSE, reason.to_be_bytes().to_vec());
        assert_eq!(self.frame().await, Some(close));
        assert_eq!(self.frame().await, None);
    }
}

/// A head of HTTP.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.expect("an answer"));
    }
    String::from_utf8(head).expect("text")
}

async fn ask(hub: &Hub, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(hub.local_addr().expect("bound")).await.expect("listens");
    stream.write_all(request).await.expect("sent");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("text, and the end");
    answer
}

#[tokio::test]
async fn a_request_that_is_none_for_mqtt_is_answered_in_words() {
    let hub = hub(ws()).await;
    for (old, new, status, text) in [
        ("/mqtt", "/", "404", "this path"),
        ("/mqtt", "/mqtt/", "404", "this path"),
        ("GET", "POST", "400", "GET is expected"),
        ("Upgrade: websocket\r\n", "", "426", "upgrade: websocket"),
        ("Version: 13", "Version: 12", "426", "sec-websocket-version: 13"),
        ("Sec-WebSocket-Version: 13\r\n", "", "426", "version 13"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400", "Sec-WebSocket-Key"),
        ("dGhl", &"x".repeat(100), "400", "Sec-WebSocket-Key"),
        ("Protocol: mqtt", "Protocol: mqttv3.1, chat", "400", "the subprotocol mqtt"),
        ("Sec-WebSocket-Protocol: mqtt\r\n", "", "400", "the subprotocol mqtt"),
        ("HTTP/1.1", "HTTP/9", "400", "not HTTP/1.1"),
        ("Host: hub", &format!("Host: {}", "h".repeat(20_000)), "431", "too long"),
    ] {
        let answer = ask(&hub, UPGRADE.replacen(old, new, 1).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{old} -> {new}: {answer}");
        assert!(answer.contains(text), "{old} -> {new}: {answer}");
    }
    let answer = ask(&hub, &[&Connect::new("a").bytes()[..], b"\r\n\r\n"].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    Socket::connect(&hub, &Connect::new("a")).await;
}

#[tokio::test]
async fn mqtt_may_be_one_of_many_subprotocols_and_a_path_may_have_a_query() {
    let hub = hub(ws()).await;
    for (old, new) in [("Protocol: mqtt", "Protocol: chat, mqtt"), ("/mqtt", "/mqtt?token=1")] {
        let address = hub.local_addr().expect("bound");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = UPGRADE.replacen(old, new, 1);
        stream.write_all(request.as_bytes()).await.expect("sent");
        let head = head(&mut stream).await;
        assert!(head.contains("sec-websocket-protocol: mqtt\r\n"), "{head}");
    }
}

#[tokio::test]
async fn another_path_is_served_if_the_listener_says_so() {
    let hub = hub(ws().path("/hub/devices")).await;
    let _responder = echo(&hub).await;
    let url = hub.listeners()[0].to_string();
    assert!(url.ends_with("/hub/devices"), "{url}");
    works(&requester(Client::builder(&url)).await, 10).await;
    assert!(ask(&hub, UPGRADE.as_bytes()).await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_packet_may_span_frames() {
    // [MQTT-6.0.0-2]
    let hub = hub(ws()).await;
    let mut socket = Socket::open(&hub).await;
    for byte in Connect::new("a").bytes() {
        socket.send(&frame(FINAL | BINARY, &[byte])).await;
    }
    assert_eq!(socket.packet().await[0] >> 4, CONNACK);
    // In pieces of a fragmented message too, with something between them.
    socket.send(&frame(BINARY, &PINGREQ[..1])).await;
    socket.send(&frame(CONTINUATION, &[])).await;
    socket.send(&frame(FINAL | PING, b"there?")).await;
    socket.send(&frame(FINAL | CONTINUATION, &PINGREQ[1..])).await;
    assert_eq!(socket.frame().await, Some((FINAL | PONG, b"there?".to_vec())));
    assert_eq!(socket.packet().await, PINGRESP);
}

#[tokio::test]
async fn a_frame_may_hold_packets_and_the_beginning_of_one() {
    let hub = hub(ws()).await;
    let mut socket = Socket::open(&hub).await;
    let bytes = [&Connect::new("a").bytes()[..], &PINGREQ, &PINGREQ[..1]].concat();
    socket.send(&frame(FINAL | BINARY, &bytes)).await;
    assert_eq!(socket.packet().await[0] >> 4, CONNACK);
    assert_eq!(socket.packet().await, PINGRESP);
    socket.send(&frame(FINAL | BINARY, &PINGREQ[1..])).await;
    assert_eq!(socket.packet().await, PINGRESP);
}

/// A PUBLISH at QoS 1 with so many bytes after the fixed header.
fn publish(remaining: usize) -> Vec<u8> {
    let header = [&string("nobody")[..], &[0, 1, 0]].concat();
    packet(0x32, &[&header[..], &vec![7; remaining - header.len()]].concat())
}

#[tokio::test]
async fn a_frame_may_be_as_long_as_the_longest_packet_and_no_longer() {
    let limit = 300_000;
    let hub = hub(ws().limits(|limits| limits.packet = Some(300_000))).await;
    let mut socket = Socket::connect(&hub, &Connect::new("a")).await;
    socket.send(&frame(FINAL | BINARY, &publish(limit))).await;
    assert_eq!(socket.packet().await[0] >> 4, PUBACK);
    // Before its payload has come.
    socket.send(&frame(FINAL | BINARY, &vec![0; limit + 6])[..14]).await;
    socket.ends(1009).await;
}

#[tokio::test]
async fn what_is_no_binary_frame_of_a_client_ends_the_connection() {
    let hub = hub(ws()).await;
    let unmasked = [FINAL | BINARY, 2, 0xC0, 0];
    // [MQTT-6.0.0-1]
    for (bytes, reason) in [
        (&frame(FINAL | TEXT, &PINGREQ)[..], 1003),
        (&frame(TEXT, &PINGREQ), 1003),
        (&frame(FINAL | CONTINUATION, &PINGREQ), 1002),
        (&frame(FINAL | 3, &PINGREQ), 1002),
        (&unmasked, 1002),
        (&frame(FINAL | CLOSE, &1000_u16.to_be_bytes()), 1000),
    ] {
        let mut socket = Socket::connect(&hub, &Connect::new("a")).await;
        socket.send(bytes).await;
        socket.ends(reason).await;
    }
    Socket::connect(&hub, &Connect::new("a")).await;
}

#[tokio::test]
async fn who_says_good_bye_and_closes_at_once_has_said_good_bye() {
    let hub = Hub::builder().listen(ws()).bind("127.0.0.1:0").start().await.expect("started");
    let mut watcher = Raw::connect(hub.local_addrs()[1], &Connect::new("watcher")).await;
    assert_eq!(watcher.subscribe("gone/+", 1).await, 1);
    let close = frame(FINAL | CLOSE, &1000_u16.to_be_bytes());
    let polite = Connect::new("polite").will("gone/polite", "", 1, false);
    let mut polite = Socket::connect(&hub, &polite).await;
    let good_bye = frame(FINAL | BINARY, &[0xE0, 0]);
    polite.send(&[&good_bye[..], &close].concat()).await;
    polite.ends(1000).await;
    let rude = Connect::new("rude").will("gone/rude", "", 1, false);
    let mut rude = Socket::connect(&hub, &rude).await;
    rude.send(&close).await;
    assert_eq!(watcher.message().await.topic, "gone/rude");
}

#[tokio::test]
async fn an_upgrade_that_does_not_come_is_not_waited_for() {
    let second = Duration::from_secs(1);
    let hub = hub(ws().limits(|limits| limits.handshake = Some(second))).await;
    for part in [0, 10, UPGRADE.len() - 1] {
        let mut slow = Raw::open(hub.local_addr().expect("bound")).await;
        slow.send(&UPGRADE.as_bytes()[..part]).await;
        assert_eq!(slow.read().await, None::<Packet>);
    }
}

/// Who does not read gets no Pong any more, and so the hub keeps none for it (RFC 6455 §5.5.3).
#[tokio::test]
async fn pings_are_not_answered_without_end() {
    let hub = hub(ws()).await;
    let mut socket = Socket::connect(&hub, &Connect::new("a")).await;
    let many = frame(FINAL | PING, &[7; 125]).repeat(1000);
    for _ in 0..200 {
        socket.send(&many).await;
    }
    socket.send(&frame(FINAL | BINARY, &PINGREQ)).await;
    let mut pongs = 0;
    while let Some((first, _)) = socket.frame().await {
        if first == FINAL | BINARY {
            break;
        }
        pongs += 1;
    }
    // What the buffers of both sides hold: some MiB at most, of more than 25.
    assert!(pongs < 150_000, "{pongs} pongs");
}

/// MQTT 3.1 over WebSocket, a byte in each frame.
#[tokio::test]
async fn a_connect_of_3_1_may_come_in_frames_of_a_byte() {
    let hub = hub(ws()).await;
    let mut socket = Socket::open(&hub).await;
    let connect = Connect::new("longer than 23 characters").version(3).bytes();
    let frames = connect.iter().enumerate().flat_map(|(place, byte)| {
        let last = place + 1 == connect.len();
        let kind = if place == 0 { BINARY } else { CONTINUATION };
        frame(if last { FINAL | kind } else { kind }, &[*byte])
    });
    let frames: Vec<u8> = frames.collect();
    for bytes in frames.chunks(7) {
        socket.send(bytes).await;
    }
    assert_eq!(socket.packet().await, [CONNACK << 4, 2, 0, 0]);
    socket.send(&frame(FINAL | BINARY, &PINGREQ)).await;
    assert_eq!(socket.packet().await, PINGRESP);
}
