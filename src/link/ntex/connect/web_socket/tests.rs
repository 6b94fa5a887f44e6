//! A WebSocket server that cuts its frames as it likes.

use std::sync::Arc;

use ntex::ws::hash_key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::core::packet::Message;
use crate::link::ntex::connect::{buffers, connect};
use crate::link::ntex::options::Options;
use crate::link::ntex::tests::{next, run};
use crate::link::ntex::transport::Client;
use crate::link::{Event, Transport};

const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FINAL: u8 = 0x80;

/// A server and a client that has connected to it.
async fn connected(set: impl FnOnce(&mut Options)) -> (Server, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    let mut options = Options::parse(&url).expect("valid");
    set(&mut options);
    let options = Arc::new(options);
    let accepting = async {
        let mut server = Server(listener.accept().await.expect("the client").0);
        server.shake_hands().await;
        server
    };
    let connecting = connect(Arc::clone(&options), buffers(), true);
    let (server, accepted) = tokio::join!(accepting, connecting);
    let mut client = Client::new(options, buffers(), accepted.expect("accepted"));
    assert!(matches!(next(&mut client).await, Event::Connected(_)));
    (server, client)
}

struct Server(TcpStream);

impl Server {
    /// Up to the CONNACK.
    async fn shake_hands(&mut self) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(self.0.read_u8().await.expect("a request"));
        }
        let request = String::from_utf8(request).expect("text");
        let mut headers = request.lines().filter_map(|line| line.split_once(": "));
        let key = headers.find(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Key"));
        let accept = hash_key(key.expect("a key").1.as_bytes()).expect("a key");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        self.0.write_all(answer.as_bytes()).await.expect("written");
        let (opcode, connect) = self.read().await;
        assert_eq!((opcode, connect[0]), (FINAL | BINARY, 0x10));
        self.write(FINAL | BINARY, CONNACK).await;
    }

    async fn write(&mut self, opcode: u8, payload: &[u8]) {
        self.0.write_all(&frame(opcode, payload)).await.expect("written");
    }

    /// The next frame of the client, which masks it.
    async fn read(&mut self) -> (u8, Vec<u8>) {
        let opcode = self.0.read_u8().await.expect("a frame");
        let length = match self.0.read_u8().await.expect("a length") & 0x7f {
            126 => self.0.read_u16().await.expect("a length").into(),
            127 => self.0.read_u64().await.expect("a length"),
            short => short.into(),
        };
        let mask = self.0.read_u32().await.expect("a mask").to_be_bytes();
        let mut payload = vec![0; usize::try_from(length).expect("short")];
        self.0.read_exact(&mut payload).await.expect("a payload");
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        (opcode, payload)
    }
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![opcode, 127];
    frame.extend(u64::try_from(payload.len()).expect("short").to_be_bytes());
    frame.extend(payload);
    frame
}

/// A PUBLISH to `t` at QoS 0.
fn publish(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x30];
    let mut length = payload.len() + 4;
    while length > 127 {
        packet.push(u8::try_from(length % 128).expect("small") | 0x80);
        length /= 128;
    }
    packet.push(u8::try_from(length).expect("small"));
    packet.extend([0, 1, b't', 0]);
    packet.extend(payload);
    packet
}

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|place| u8::try_from(place % 251).expect("small")).collect()
}

async fn message(client: &mut Client) -> Message {
    match next(client).await {
        Event::Message(message, None) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn packets_span_frames_and_frames_span_packets() {
    run(async {
        let (mut server, mut client) = connected(|_| {}).await;
        for cut in [1, 2, 7, 1000, 65_535, 65_536, 200_000] {
            // More frames than these would take long and show nothing new.
            let size = (cut * 2000).min(500_000);
            let packets = [publish(&payload(size)), publish(b""), publish(b"x")].concat();
            let writing = async {
                for part in packets.chunks(cut) {
                    server.write(FINAL | BINARY, part).await;
                }
            };
            let reading = async {
                for expected in [payload(size), Vec::new(), b"x".to_vec()] {
                    assert!(message(&mut client).await.payload[..] == expected[..], "cut at {cut}");
                }
            };
            tokio::join!(writing, reading);
        }
    });
}

#[test]
fn a_message_may_have_fragments_with_a_ping_between() {
    run(async {
        let (mut server, mut client) = connected(|_| {}).await;
        let packet = publish(&payload(1000));
        server.write(BINARY, &packet[..10]).await;
        server.write(CONTINUATION, &packet[10..500]).await;
        server.write(FINAL | PING, b"well?").await;
        server.write(FINAL | CONTINUATION, &packet[500..]).await;
        assert_eq!(message(&mut client).await.payload[..], payload(1000));
        assert_eq!(server.read().await, (FINAL | PONG, b"well?".to_vec()));
    });
}

#[test]
fn large_payloads_leave_whole() {
    run(async {
        let (mut server, mut client) = connected(|_| {}).await;
        let topic = crate::core::topic::TopicName::new("t").expect("valid");
        let mut sent = Message::new(topic, payload(500_000));
        sent.qos = crate::core::packet::Qos::AtMostOnce;
        client.publish(&sent, 1).expect("sent");
        let expected = publish(&payload(500_000));
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let (opcode, part) = server.read().await;
            assert_eq!(opcode, FINAL | BINARY);
            received.extend(part);
        }
        assert!(received == expected);
    });
}

#[test]
fn what_no_server_of_mqtt_sends_ends_the_connection() {
    run(async {
        let unmaskable = [FINAL | BINARY, 0x80, 1, 2, 3, 4].to_vec();
        let over_the_cap = [&[FINAL | BINARY, 127], &u64::MAX.to_be_bytes()[..]].concat();
        for wrong in [
            frame(FINAL | TEXT, &publish(b"text")),
            frame(TEXT, &publish(b"text")),
            frame(FINAL | CONTINUATION, b"x"),
            frame(FINAL | 0x3, b"x"),
            unmaskable,
            over_the_cap,
        ] {
            let (mut server, mut client) = connected(|_| {}).await;
            server.0.write_all(&wrong).await.expect("written");
            assert!(matches!(next(&mut client).await, Event::Disconnected), "{wrong:?}");
        }
    });
}

#[test]
fn the_cap_of_a_frame_follows_the_largest_packet() {
    run(async {
        let (mut server, mut client) = connected(|options| {
            options.maximum_packet_size = std::num::NonZeroU32::new(1000).expect("not zero");
        })
        .await;
        // Many packets that are small enough, in one frame.
        let packets = [publish(&payload(600)), publish(&payload(700))].concat();
        server.write(FINAL | BINARY, &packets).await;
        assert_eq!(message(&mut client).await.payload.len(), 600);
        assert_eq!(message(&mut client).await.payload.len(), 700);
        server.write(FINAL | BINARY, &vec![0; 64 * 1024 + 1]).await;
        assert!(matches!(next(&mut client).await, Event::Disconnected));
    });
}
