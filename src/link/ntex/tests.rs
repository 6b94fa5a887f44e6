//! The transport against a real broker.

#[path = "../../../tests/support/mosquitto.rs"]
pub(crate) mod mosquitto;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ntex::rt::{DefaultRuntime, System};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tower::ServiceExt;

use self::mosquitto::Mosquitto;
use super::connect::{buffers, connect};
use super::options::Options;
use super::reconnect::Reconnect;
use super::thread::{self, Thread};
use super::transport::Client;
use crate::Requester;
use crate::core::packet::{Message, Qos, ReasonCode, Subscription};
use crate::core::topic::{TopicFilter, TopicName};
use crate::error::ServeError;
use crate::link::fake::Alone;
use crate::link::{
    AckId, Connection, Driver, Event, LinkParts, LinkSeat, OutgoingLimits, SendError, SendId,
    Transport,
};

pub(super) fn run(test: impl Future<Output = ()> + 'static) {
    System::build().ping_interval(0).build(DefaultRuntime).block_on(test);
}

pub(super) async fn client(address: &str) -> Client {
    client_with(address, |_| {}).await
}

pub(super) async fn client_with(address: &str, set: impl FnOnce(&mut Options)) -> Client {
    let mut options = Options::parse(address).expect("valid");
    options.reconnect.longest = Duration::from_millis(50);
    set(&mut options);
    let options = Arc::new(options);
    let accepted = connect(Arc::clone(&options), buffers(), true).await.expect("accepted");
    let mut client = Client::new(options, buffers(), accepted);
    assert!(matches!(next(&mut client).await, Event::Connected(_)));
    client
}

pub(super) async fn next(client: &mut Client) -> Event {
    let event = poll_fn(|cx| client.poll_event(cx));
    tokio::time::timeout(Duration::from_secs(10), event).await.expect("something happens")
}

async fn subscribe(client: &mut Client, filter: &str) {
    let filter = TopicFilter::new(filter).expect("valid");
    client.subscribe(&[Subscription::new(filter)], 1000);
    let Event::Subscribed(1000, reasons) = next(client).await else { panic!("a SUBACK") };
    assert_eq!(reasons, [ReasonCode::GRANTED_QOS_1]);
}

async fn message(client: &mut Client) -> (Message, Option<AckId>) {
    loop {
        if let Event::Message(message, ack) = next(client).await {
            return (message, ack);
        }
    }
}

pub(super) fn to(topic: &str, payload: impl Into<bytes::Bytes>) -> Message {
    Message::new(TopicName::new(topic).expect("valid"), payload)
}

#[test]
fn payloads_of_any_size_come_back_whole() {
    run(async {
        let broker = Mosquitto::start(&[]).await;
        let mut client = client(&broker.url()).await;
        subscribe(&mut client, "t").await;
        for size in [0, 1, 32 * 1024 - 1, 32 * 1024 + 1, 256 * 1024, 1000 * 1024] {
            let sent = to("t", vec![u8::try_from(size % 251).expect("small"); size]);
            client.publish(&sent, 1).expect("sent");
            let (received, ack) = message(&mut client).await;
            client.acknowledge(ack.expect("QoS 1"), ReasonCode::SUCCESS);
            assert!(received.payload == sent.payload, "{size} bytes");
        }
    });
}

#[test]
fn every_acknowledgement_brings_its_reason() {
    run(async {
        let broker = Mosquitto::start(&[]).await;
        let mut client = client(&broker.url()).await;
        client.publish(&to("nobody/listens", "hello"), 7).expect("sent");
        let event = next(&mut client).await;
        let Event::Acknowledged(7, acknowledgement) = event else { panic!("a PUBACK") };
        assert_eq!(acknowledgement, ReasonCode::NO_MATCHING_SUBSCRIBERS.into());
        let filter = TopicFilter::new("a").expect("valid");
        client.unsubscribe(&[Subscription::new(filter)], 8);
        let Event::Subscribed(8, reasons) = next(&mut client).await else { panic!("an UNSUBACK") };
        assert_eq!(reasons, [ReasonCode::NO_SUBSCRIPTION_EXISTED]);
    });
}

#[test]
fn held_acknowledgements_leave_in_order_of_arrival() {
    run(async {
        let broker = Mosquitto::start(&[]).await;
        let limited = format!("{}?receive_maximum=2", broker.url());
        let mut receiver = client(&limited).await;
        subscribe(&mut receiver, "t").await;
        let mut sender = client(&broker.url()).await;
        for id in 0..4 {
            sender.publish(&to("t", vec![id]), id.into()).expect("sent");
        }
        for _ in 0..4 {
            assert!(matches!(next(&mut sender).await, Event::Acknowledged(..)));
        }
        let (first, first_ack) = message(&mut receiver).await;
        let (second, second_ack) = message(&mut receiver).await;
        assert_eq!((&first.payload[..], &second.payload[..]), ([0].as_slice(), [1].as_slice()));
        // The second may not be acknowledged before the first, so that nothing more comes.
        receiver.acknowledge(second_ack.expect("QoS 1"), ReasonCode::SUCCESS);
        receiver.acknowledge(1_000_000, ReasonCode::SUCCESS);
        subscribe(&mut receiver, "other").await;
        receiver.acknowledge(first_ack.expect("QoS 1"), ReasonCode::SUCCESS);
        let (third, _) = message(&mut receiver).await;
        assert_eq!(&third.payload[..], [2]);
    });
}

#[cfg(unix)]
#[test]
fn a_burst_at_qos_0_fills_the_write_buffer_and_drains() {
    use rustix::process::{Pid, Signal, kill_process};

    run(async {
        let broker = Mosquitto::start(&[]).await;
        let pid = broker.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).expect("it runs");
        let mut client = client(&broker.url()).await;
        // While it reads, it may be as fast as the client writes.
        kill_process(pid, Signal::STOP).expect("stopped");
        let mut message = to("t", vec![0; 8 * 1024]);
        message.qos = Qos::AtMostOnce;
        let mut sent = 0;
        while client.is_writable() {
            client.publish(&message, 0).expect("sent");
            sent += 1;
        }
        // How much the system takes as well is its own matter, but it is not without end.
        assert!((1..10_000).contains(&sent), "{sent} messages of 8 KiB");
        kill_process(pid, Signal::CONT).expect("it goes on");
        assert!(matches!(next(&mut client).await, Event::Writable));
        assert!(client.is_writable());
    });
}

#[test]
fn what_the_server_does_not_take_is_refused_before_it_is_written() {
    run(async {
        let broker = Mosquitto::start(&["max_packet_size 1000"]).await;
        let mut client = client(&broker.url()).await;
        let error = client.publish(&to("t", vec![0; 2000]), 1);
        assert!(
            matches!(error, Err(SendError::TooLarge { size, limit }) if size > 2000 && limit <= 1000)
        );
        client.publish(&to("t", "small"), 2).expect("the connection is as before");
        assert!(matches!(next(&mut client).await, Event::Acknowledged(2, _)));
    });
}

#[test]
fn a_packet_above_our_own_limit_does_not_reach_us() {
    run(async {
        let broker = Mosquitto::start(&[]).await;
        let set = |options: &mut Options| {
            options.maximum_packet_size = NonZeroU32::new(1000).expect("not zero");
        };
        let mut client = client_with(&broker.url(), set).await;
        subscribe(&mut client, "t").await;
        client.publish(&to("t", vec![0; 2000]), 1).expect("sent");
        client.publish(&to("t", "small"), 2).expect("sent");
        let (received, _) = message(&mut client).await;
        assert_eq!(received.payload, "small");
    });
}

#[test]
fn comes_back_after_the_broker_was_restarted() {
    run(async {
        let mut broker = Mosquitto::start(&[]).await;
        let set = |options: &mut Options| {
            let longest = Duration::from_millis(50);
            options.reconnect = Reconnect { longest, ..Reconnect::default() };
        };
        let mut client = client_with(&broker.url(), set).await;
        subscribe(&mut client, "t").await;
        client.publish(&to("t", "x"), 1).expect("sent");
        let (_, stale) = message(&mut client).await;
        broker.kill();
        while !matches!(next(&mut client).await, Event::Disconnected) {}
        assert_eq!(client.publish(&to("t", "x"), 1), Err(SendError::Disconnected));
        assert!(!client.is_writable());
        broker.restart().await;
        let Event::Connected(connection) = next(&mut client).await else { panic!("connected") };
        assert!(!connection.session_present);
        // Of the connection before: ignored.
        client.acknowledge(stale.expect("QoS 1"), ReasonCode::SUCCESS);
        subscribe(&mut client, "t").await;
        client.publish(&to("t", "again"), 2).expect("sent");
        assert_eq!(message(&mut client).await.0.payload, "again");
    });
}

#[test]
fn finds_its_session_again_when_it_has_an_expiry() {
    run(async {
        let broker = Mosquitto::start(&[]).await;
        let address = format!("{}?client_id=M7&session_expiry=60", broker.url());
        let mut client = client(&address).await;
        subscribe(&mut client, "t").await;
        client.drop_connection();
        assert!(matches!(next(&mut client).await, Event::Disconnected));
        let Event::Connected(connection) = next(&mut client).await else { panic!("connected") };
        assert!(connection.session_present);
    });
}

#[test]
fn does_not_fight_for_a_client_id() {
    run(async {
        // Mosquitto only hangs up, so that a server says it here that follows the standard.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("mqtt://{}", listener.local_addr().expect("bound"));
        let server = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.expect("the client");
            let connack = [0x20, 3, 0, 0, 0];
            let disconnect = [0xE0, 2, ReasonCode::SESSION_TAKEN_OVER.get(), 0];
            stream.read_u8().await.expect("a CONNECT");
            stream.write_all(&connack).await.expect("written");
            stream.write_all(&disconnect).await.expect("written");
        });
        let mut client = client(&address).await;
        assert!(matches!(next(&mut client).await, Event::Closed));
        server.await.expect("no panic");
    });
}

/// The refusal is this side's own: nothing that arrives wakes the connection for it.
#[tokio::test]
async fn a_call_at_a_qos_that_the_server_does_not_have_is_refused_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("mqtt://{}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the client");
        let mut packet = [0; 1024];
        assert!(stream.read(&mut packet).await.expect("a CONNECT") > 0);
        let (maximum_qos, none) = (0x24, 0);
        stream.write_all(&[0x20, 5, 0, 0, 2, maximum_qos, none]).await.expect("written");
        assert!(stream.read(&mut packet).await.expect("a SUBSCRIBE") > 0);
        let suback = [0x90, 4, packet[2], packet[3], 0, 0];
        stream.write_all(&suback).await.expect("written");
        let _ = stream.read(&mut packet).await;
    });
    let link = crate::Client::connect(&address).await.expect("accepted");
    let requester = Requester::builder(link).build().await.expect("subscribed");
    let request = crate::Request::new("t", "").expect("valid").timeout(Duration::from_hours(1));
    let called = tokio::time::timeout(Duration::from_secs(10), requester.oneshot(request)).await;
    let error = called.expect("at once").expect_err("refused");
    assert_eq!(error, crate::RequestError::Rejected(ReasonCode::QOS_NOT_SUPPORTED));
    server.await.expect("no panic");
}

#[test]
fn hangs_up_on_a_header_that_is_longer_than_its_packet() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("mqtt://{}", listener.local_addr().expect("bound"));
        let server = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.expect("the client");
            stream.read_u8().await.expect("a CONNECT");
            stream.write_all(&[0x20, 3, 0, 0, 0]).await.expect("written");
            // Topic `t`, then properties of which the packet ends in the middle.
            stream
                .write_all(&[0x30, 5, 0, 1, b't', 6, 8, 0, 3, b'a', b'/', b'b'])
                .await
                .expect("written");
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await.expect("closed");
            assert!(said.ends_with(&[0xE0, 2, ReasonCode::MALFORMED_PACKET.get(), 0]), "{said:?}");
        });
        let mut client = client(&address).await;
        assert!(matches!(next(&mut client).await, Event::Disconnected));
        server.await.expect("no panic");
    });
}

#[test]
fn control_characters_do_not_cost_the_connection() {
    run(async {
        let broker = Mosquitto::start(&[]).await;
        let mut client = client(&broker.url()).await;
        subscribe(&mut client, "t").await;
        let mut sent = to("t", "x");
        sent.properties.user.push("status-message", "line 3:\n\0 eof");
        sent.properties.user.push("dump", "\u{1}".repeat(65_535));
        client.publish(&sent, 1).expect("sent");
        let (received, _) = message(&mut client).await;
        let text = received.properties.user.get("status-message");
        assert_eq!(text, Some("line 3:?? eof"));
    });
}

/// A connection that panics as soon as somebody subscribes.
struct Broken(bool);

impl Transport for Broken {
    fn publish(&mut self, _: &Message, _: SendId) -> Result<(), SendError> {
        Err(SendError::Disconnected)
    }

    fn subscribe(&mut self, _: &[Subscription], _: SendId) {
        panic!("on purpose")
    }

    fn unsubscribe(&mut self, _: &[Subscription], _: SendId) {}

    fn acknowledge(&mut self, _: AckId, _: ReasonCode) {}

    fn is_writable(&self) -> bool {
        true
    }

    fn try_event(&mut self) -> Option<Event> {
        let connection = Connection {
            session_present: false,
            response_base: TopicName::new("responses").expect("valid"),
            receive_maximum: 1,
        };
        (!std::mem::replace(&mut self.0, true)).then_some(Event::Connected(connection))
    }

    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<Event> {
        self.try_event().map_or(Poll::Pending, Poll::Ready)
    }

    fn disconnect(&mut self) {}
}

#[tokio::test]
async fn a_panic_on_the_thread_is_an_error_for_everybody_who_waits() {
    let parts = LinkParts::new(OutgoingLimits::default());
    let (seat_giver, seat) = oneshot::channel();
    let thread = Thread::start("tower-mqtt-panic", move || async move {
        let seat: LinkSeat = seat.await.expect("given below");
        thread::run(&RefCell::new(Driver::new(Broken(false), seat))).await;
    });
    let (link, seat) = parts.into_link("M7".into(), Box::new(Alone(thread.expect("started"))));
    assert!(seat_giver.send(seat).is_ok());
    let first = tokio::spawn(Requester::builder(link.clone()).build());
    let second = tokio::spawn(Requester::builder(link.clone()).build());
    for waiting in [first, second] {
        let built = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        let error = built.expect("no hang").expect("no panic here").expect_err("a dead link");
        assert!(matches!(error, ServeError::Closed), "{error}");
    }
    assert!(!link.connected().await);
}
