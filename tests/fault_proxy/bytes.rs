//! Bytes that pass, seen from both ends.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_mqtt::test_util::{Chunks, Conditions, Cut, Direction, Fault, FaultProxy, Kind, Packets};

use super::*;

/// Both ends of a connection through a new proxy.
struct Ends {
    proxy: FaultProxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Ends {
    async fn new(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let upstream = listener.local_addr().expect("bound");
        let proxy = FaultProxy::start_with_seed(upstream, seed).await.expect("started");
        let client = TcpStream::connect(proxy.addr()).await.expect("connected");
        let (server, _) = soon(listener.accept()).await.expect("accepted");
        soon(proxy.until(|stats| stats.opened == 1)).await;
        Self { proxy, listener, client, server }
    }

    async fn send(&mut self, bytes: &[u8]) {
        soon(self.client.write_all(bytes)).await.expect("written");
    }

    /// What has come to the server: exactly so many bytes.
    async fn received(&mut self, count: usize) -> Vec<u8> {
        read(&mut self.server, count).await
    }
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    soon(stream.read_exact(&mut bytes)).await.expect("it comes");
    bytes
}

const CONNECT_5: &[u8] = b"\x10\x0f\0\x04MQTT\x05\x02\0\x3C\0\0\x02M7";
const CONNECT_3: &[u8] = b"\x10\x0e\0\x04MQTT\x04\x02\0\x3C\0\x02M7";

/// A PUBLISH of MQTT 3.1.1 at QoS 1.
fn publish_3(id: u8) -> Vec<u8> {
    [b"\x32\x06\0\x01t\0", &[id, b'x'][..]].concat()
}

#[tokio::test]
async fn what_is_no_mqtt_passes_unchanged() {
    for sent in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\0", b"\x10\x05\0\x04MQTX", b"\0"]
    {
        let mut ends = Ends::new(0).await;
        let mut watch = ends.proxy.watch(Packets::all());
        ends.send(sent).await;
        assert_eq!(ends.received(sent.len()).await, sent);
        soon(ends.server.write_all(b"HTTP")).await.expect("written");
        assert_eq!(read(&mut ends.client, 4).await, b"HTTP");
        for direction in Direction::BOTH {
            let packet = soon(watch.next()).await.expect("passed");
            assert_eq!((packet.kind, packet.direction), (Kind::Raw, direction));
        }
    }
}

#[tokio::test]
async fn what_is_left_of_a_packet_passes_when_its_sender_closes() {
    let mut ends = Ends::new(0).await;
    let sent = [CONNECT_5, b"\x30\x7Fcut off"].concat();
    ends.send(&sent).await;
    soon(ends.client.shutdown()).await.expect("closed");
    let mut got = Vec::new();
    soon(ends.server.read_to_end(&mut got)).await.expect("a FIN");
    assert_eq!(got, sent);
    // The other direction is still open.
    soon(ends.server.write_all(b"\x20\x03\0\0\0")).await.expect("written");
    assert_eq!(read(&mut ends.client, 5).await, b"\x20\x03\0\0\0");
    drop(ends.server);
    assert_eq!(soon(ends.client.read(&mut [0])).await.expect("a FIN"), 0);
    soon(ends.proxy.until(|stats| stats.closed == 1)).await;
}

#[tokio::test]
async fn a_long_packet_passes_in_pieces_and_the_next_is_seen() {
    let ends = Ends::new(0).await;
    let mut watch = ends.proxy.watch(Packets::to_server().publish("t"));
    // 2 MiB.
    let mut long = vec![b'x'; 5 + 2 * 1024 * 1024];
    long[..5].copy_from_slice(b"\x30\x80\x80\x80\x01");
    let sent = [CONNECT_3, &long, &publish_3(7)].concat();
    let (mut client, mut server) = (ends.client, ends.server);
    let writing = tokio::spawn({
        let sent = sent.clone();
        async move {
            client.write_all(&sent).await.expect("written");
            client
        }
    });
    assert!(read(&mut server, sent.len()).await == sent);
    let packet = soon(watch.next()).await.expect("passed");
    assert_eq!((packet.packet_id, &packet.payload[..]), (Some(7), &b"x"[..]));
    drop(soon(writing).await);
}

#[tokio::test]
async fn packets_of_mqtt_3_are_seen() {
    let mut ends = Ends::new(0).await;
    let mut watch = ends.proxy.watch(Packets::all());
    ends.send(&[CONNECT_3, &publish_3(7)].concat()).await;
    let connect = soon(watch.next()).await.expect("passed");
    assert_eq!((connect.kind, connect.client_id.as_deref()), (Kind::Connect, Some("M7")));
    let publish = soon(watch.next()).await.expect("passed");
    assert_eq!((publish.topic.as_deref(), publish.qos, publish.packet_id), (Some("t"), 1, Some(7)));
    soon(ends.server.write_all(b"\x40\x02\0\x07")).await.expect("written");
    let ack = soon(watch.next()).await.expect("passed");
    assert_eq!((ack.kind, ack.packet_id, ack.reason), (Kind::PubAck, Some(7), None));
}

#[tokio::test]
async fn a_topic_alias_stands_for_its_topic() {
    let mut ends = Ends::new(0).await;
    let mut watch = ends.proxy.watch(Packets::to_server().publish("a/b"));
    let first = b"\x30\x09\0\x03a/b\x03\x23\0\x05";
    let second = b"\x30\x07\0\0\x03\x23\0\x05x";
    ends.send(&[CONNECT_5, first, second].concat()).await;
    assert!(soon(watch.next()).await.expect("passed").payload.is_empty());
    assert_eq!(&soon(watch.next()).await.expect("passed").payload[..], b"x");
}

#[tokio::test]
async fn a_password_is_not_shown() {
    let mut ends = Ends::new(0).await;
    let mut watch = ends.proxy.watch(Packets::all());
    let connect = b"\x10\x19\0\x04MQTT\x04\xC2\0\x3C\0\x02M7\0\x01u\0\x06secret";
    ends.send(connect).await;
    let packet = soon(watch.next()).await.expect("passed");
    assert!(packet.bytes.ends_with(b"secret"));
    assert!(!format!("{packet:?}").contains("secret"));
}

#[tokio::test]
async fn a_connection_is_cut_as_it_was_said() {
    for how in [Cut::Reset, Cut::Close] {
        let mut ends = Ends::new(0).await;
        // What nobody has read does not turn the FIN into an RST.
        ends.proxy.pause(Direction::ToServer);
        ends.send(CONNECT_3).await;
        ends.proxy.cut_all(how);
        for end in [&mut ends.client, &mut ends.server] {
            let got = soon(end.read(&mut [0])).await.map_err(|error| error.kind());
            match how {
                Cut::Reset => assert_eq!(got, Err(ErrorKind::ConnectionReset)),
                Cut::Close => assert_eq!(got, Ok(0)),
            }
        }
    }
}

#[tokio::test]
async fn an_rst_of_one_side_is_one_for_the_other() {
    let mut ends = Ends::new(0).await;
    ends.client.set_zero_linger().expect("a socket option");
    drop(ends.client);
    let error = soon(ends.server.read(&mut [0])).await.expect_err("an RST");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn new_connections_are_refused() {
    let ends = Ends::new(0).await;
    ends.proxy.refuse(true);
    let mut refused = TcpStream::connect(ends.proxy.addr()).await.expect("the system accepts it");
    assert!(soon(refused.read(&mut [0])).await.is_err());
    ends.proxy.heal();
    let _accepted = TcpStream::connect(ends.proxy.addr()).await.expect("connected");
    soon(ends.listener.accept()).await.expect("accepted");
    assert_eq!(ends.proxy.stats().refused, 1);
}

#[tokio::test]
async fn calls_survive_bytes_that_come_one_by_one() {
    for broker in Broker::both().await {
        let setup = Setup::new(broker).await;
        let single = Conditions { chunks: Chunks::Split(1), ..Conditions::default() };
        for direction in Direction::BOTH {
            setup.proxy.conditions(direction, single);
        }
        let requester = setup.requester("M7").await;
        let payload = "soup ".repeat(200);
        answered(ask(&requester, echo(&payload)), &payload).await;
    }
}

#[tokio::test]
async fn calls_survive_packets_that_come_together() {
    let setup = Setup::new(Broker::hub().await).await;
    let requester = setup.requester("M7").await;
    let sent = setup.proxy.watch(Packets::to_server().publish("echo/#"));
    let seen = setup.proxy.rule(Packets::to_server().publish("echo/#"), Fault::Deliver);
    let chunks = Chunks::Join { bytes: 5000, within: Duration::MAX };
    setup.proxy.conditions(Direction::ToServer, Conditions { chunks, ..Conditions::default() });
    let first = ask(&requester, echo("one").timeout(Duration::from_secs(25)));
    assert!(soon(seen.hit(1)).await);
    assert_eq!(sent.count(), 0, "it waits for more bytes");
    let long = "x".repeat(5000);
    let second = ask(&requester, echo(&long));
    answered(first, "one").await;
    answered(second, &long).await;
}

#[tokio::test]
async fn one_seed_has_one_outcome() {
    async fn passed(seed: u64) -> Vec<u16> {
        let mut ends = Ends::new(seed).await;
        let publishes = Packets::to_server().kind(Kind::Publish);
        ends.proxy.rule(publishes.clone().one_in(3), Fault::Lose);
        let mut watch = ends.proxy.watch(publishes);
        let stream: Vec<u8> = (1..=200).flat_map(publish_3).collect();
        ends.send(&[CONNECT_3, &stream].concat()).await;
        soon(ends.client.shutdown()).await.expect("closed");
        soon(ends.server.read_to_end(&mut Vec::new())).await.expect("a FIN");
        let mut ids = Vec::new();
        for _ in 0..watch.count() {
            ids.extend(soon(watch.next()).await.expect("passed").packet_id);
        }
        ids
    }
    let (first, again, other) = (passed(1).await, passed(1).await, passed(2).await);
    assert!((100..170).contains(&first.len()), "{}", first.len());
    assert_eq!(first, again);
    assert_ne!(first, other);
}
