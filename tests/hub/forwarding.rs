//! Who gets a message, and what its sender is told.

use std::time::Duration;

use tower_mqtt::Hub;
use tower_mqtt::hub::{Access, Change};

use super::raw::{Connect, Packet, Properties, Raw, property};
use super::{client, hub};

/// Options of a subscription.
const QOS_1: u8 = 1;
const NO_LOCAL: u8 = 0b0100;

fn request(response_topic: &str) -> Properties {
    Properties::none()
        .text(property::RESPONSE_TOPIC, response_topic)
        .text(property::CORRELATION_DATA, "42")
}

#[tokio::test]
async fn nobody_subscribed_is_said_at_once() {
    let (hub, address) = hub(2).await;
    let mut a = client(address, "a").await;
    let mut b = client(address, "b").await;
    assert_eq!(a.ask("t", b"", &Properties::none()).await, 0x10);
    assert_eq!(b.subscribe("t", QOS_1).await, 1);
    assert_eq!(a.ask("t", b"", &Properties::none()).await, 0);
    assert_eq!(b.message().await.topic, "t");
    assert_eq!(b.unsubscribe("t").await, 0);
    assert_eq!(b.unsubscribe("t").await, 0x11);
    // The other worker learns it in order with what comes from there.
    while a.ask("t", b"", &Properties::none()).await != 0x10 {}
    assert!(hub.stats().unmatched >= 2);
}

#[tokio::test]
async fn a_message_arrives_with_its_properties_and_without_dup() {
    for workers in [1, 2] {
        let (_hub, address) = hub(workers).await;
        let mut a = client(address, "a").await;
        let mut b = client(address, "b").await;
        assert_eq!(b.subscribe("t/+", QOS_1).await, 1);
        let properties = request("clients/a/responses")
            .text(property::CONTENT_TYPE, "text/plain")
            .number(property::MESSAGE_EXPIRY, 7);
        let dup = a.publish(0x3A, "t/1", b"hello", &properties).await;
        assert_eq!(
            a.read().await,
            Some(Packet::PubAck { id: dup, reason: 0, properties: Properties::none() })
        );
        let message = b.message().await;
        assert_eq!((message.topic.as_str(), &message.payload[..]), ("t/1", &b"hello"[..]));
        assert_eq!((message.qos, message.dup, message.retain), (1, false, false));
        let text = |id| message.properties.find_text(id);
        assert_eq!(text(property::RESPONSE_TOPIC).as_deref(), Some("clients/a/responses"));
        assert_eq!(text(property::CORRELATION_DATA).as_deref(), Some("42"));
        assert_eq!(text(property::CONTENT_TYPE).as_deref(), Some("text/plain"));
        assert_eq!(message.properties.find_number(property::MESSAGE_EXPIRY), Some(7));
    }
}

#[tokio::test]
async fn response_topics_belong_to_one_client() {
    for workers in [1, 2] {
        let (_hub, address) = hub(workers).await;
        let mut owner = client(address, "x").await;
        let mut other = client(address, "y").await;
        for private in ["clients/x/responses", "clients/x/responses/#", "clients/+/responses"] {
            assert_eq!(other.subscribe(private, QOS_1).await, 0x87, "{private}");
        }
        for wide in ["#", "clients/#", "+/x/responses", "+/+/+"] {
            assert_eq!(other.subscribe(wide, QOS_1).await, 1, "{wide}");
        }
        assert_eq!(owner.subscribe("clients/x/responses/#", QOS_1).await, 1);
        assert_eq!(other.ask("clients/x/responses/1", b"answer", &Properties::none()).await, 0);
        assert_eq!(owner.message().await.payload, b"answer");
        // What the other one gets first is what comes after.
        assert_eq!(owner.ask("clients/x", b"public", &Properties::none()).await, 0);
        assert_eq!(other.message().await.payload, b"public");
    }
}

#[tokio::test]
async fn members_of_a_share_group_take_turns_across_workers() {
    let (_hub, address) = hub(2).await;
    let mut members = Vec::new();
    for name in ["m1", "m2", "m3", "m4"] {
        let mut member = client(address, name).await;
        assert_eq!(member.subscribe("$share/g/t/#", QOS_1).await, 1);
        members.push(member);
    }
    let mut sender = client(address, "sender").await;
    for n in 0..12_u8 {
        assert_eq!(sender.ask("t/1", &[n], &Properties::none()).await, 0);
    }
    let mut seen = Vec::new();
    for member in &mut members {
        for _ in 0..3 {
            seen.push(member.message().await.payload[0]);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..12).collect::<Vec<u8>>());
}

#[tokio::test]
async fn no_local_spares_a_client_its_own_messages() {
    let (_hub, address) = hub(1).await;
    let mut a = client(address, "a").await;
    assert_eq!(a.subscribe("t", QOS_1 | NO_LOCAL).await, 1);
    assert_eq!(a.ask("t", b"", &Properties::none()).await, 0x10);
    let mut b = client(address, "b").await;
    assert_eq!(b.ask("t", b"from b", &Properties::none()).await, 0);
    assert_eq!(a.message().await.payload, b"from b");
    // [MQTT-3.8.3-4]
    a.send_subscribe("$share/g/t", QOS_1 | NO_LOCAL).await;
    assert_eq!(a.read().await, Some(Packet::Disconnect { reason: 0x82 }));
}

#[tokio::test]
async fn what_the_authorization_hook_forbids_is_refused() {
    let hub = Hub::builder().bind("127.0.0.1:0").authorize(|identity, client_id, access| {
        assert_eq!(identity.as_str(), client_id);
        match access {
            Access::Publish(topic) => topic.as_str() != "secret",
            Access::Subscribe(filter) => filter.as_str() != "secret",
            _ => false,
        }
    });
    let hub = hub.start().await.expect("started");
    let mut a = client(hub.local_addr().expect("bound"), "a").await;
    assert_eq!(a.subscribe("secret", QOS_1).await, 0x87);
    assert_eq!(a.ask("secret", b"", &Properties::none()).await, 0x87);
    assert_eq!(a.ask("open", b"", &Properties::none()).await, 0x10);
    assert_eq!(hub.stats().refused, 2);
}

#[tokio::test]
async fn the_order_of_messages_is_kept_large_and_small() {
    for workers in [1, 2] {
        let (_hub, address) = hub(workers).await;
        let mut a = client(address, "a").await;
        let mut b = client(address, "b").await;
        assert_eq!(b.subscribe("t", QOS_1).await, 1);
        let sizes = [300 * 1024, 1, 100 * 1024, 2, 3];
        for size in sizes {
            a.publish(0x30, "t", &vec![0; size], &Properties::none()).await;
        }
        for size in sizes {
            assert_eq!(b.message().await.payload.len(), size);
        }
    }
}

/// Fills the queue of a subscriber that takes one message and acknowledges none; its limit is 2.
async fn full_subscriber(workers: usize) -> (Hub, Raw, Raw) {
    let hub = Hub::builder().bind("127.0.0.1:0").workers(workers);
    let hub = hub.limits(|limits| limits.queued_messages = 2).start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    let one = Properties::none().number(property::RECEIVE_MAXIMUM, 1);
    let mut slow = Raw::connect(address, &Connect::new("slow").properties(one)).await;
    assert_eq!(slow.subscribe("t", QOS_1).await, 1);
    let mut sender = client(address, "sender").await;
    for n in 0..3_u8 {
        assert_eq!(sender.ask("t", &[n], &Properties::none()).await, 0);
    }
    (hub, slow, sender)
}

#[tokio::test]
async fn a_full_queue_is_said_in_puback_on_the_same_worker() {
    let (hub, mut slow, mut sender) = full_subscriber(1).await;
    assert_eq!(sender.subscribe("clients/sender/responses", QOS_1).await, 1);
    let request = request("clients/sender/responses");
    assert_eq!(sender.ask("t", b"too many", &request).await, 0x97);
    // At QoS 0 there is no PUBACK: the hub answers.
    sender.publish(0x30, "t", b"too many", &request).await;
    assert_unavailable(&sender.message().await);
    assert_eq!(hub.stats().overflowed, 2);
    // The others arrive, one for each acknowledgement.
    for n in 0..3_u8 {
        assert_eq!(slow.message().await.payload, [n]);
    }
}

#[tokio::test]
async fn a_full_queue_on_another_worker_is_answered_with_503() {
    let (_hub, _slow, mut sender) = full_subscriber(2).await;
    assert_eq!(sender.subscribe("clients/sender/responses", QOS_1).await, 1);
    let sent = sender.publish(0x32, "t", b"too many", &request("clients/sender/responses")).await;
    assert_eq!(
        sender.read().await,
        Some(Packet::PubAck { id: sent, reason: 0, properties: Properties::none() })
    );
    assert_unavailable(&sender.message().await);
}

#[tokio::test]
async fn what_waits_for_a_client_that_leaves_is_answered_with_503() {
    let hub = Hub::builder().bind("127.0.0.1:0").start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    let one = Properties::none().number(property::RECEIVE_MAXIMUM, 1);
    let mut slow = Raw::connect(address, &Connect::new("slow").properties(one)).await;
    assert_eq!(slow.subscribe("t", QOS_1).await, 1);
    let mut sender = client(address, "sender").await;
    assert_eq!(sender.subscribe("clients/sender/responses", QOS_1).await, 1);
    let request = request("clients/sender/responses");
    for _ in 0..2 {
        assert_eq!(sender.ask("t", b"", &request).await, 0);
    }
    drop(slow);
    assert_unavailable(&sender.message().await);
}

fn assert_unavailable(answer: &super::raw::Publish) {
    assert_eq!(answer.properties.user("status").as_deref(), Some("503"));
    let correlation_data = answer.properties.find_text(property::CORRELATION_DATA);
    assert_eq!(correlation_data.as_deref(), Some("42"));
}

#[tokio::test]
async fn a_message_that_waits_grows_old() {
    let (hub, address) = hub(1).await;
    let one = Properties::none().number(property::RECEIVE_MAXIMUM, 1);
    let mut slow = Raw::connect(address, &Connect::new("slow").properties(one)).await;
    assert_eq!(slow.subscribe("t", QOS_1).await, 1);
    let mut sender = client(address, "sender").await;
    for expiry in [100, 1, 100] {
        let properties = Properties::none().number(property::MESSAGE_EXPIRY, expiry);
        assert_eq!(sender.ask("t", b"", &properties).await, 0);
    }
    let Some(Packet::Publish(first)) = slow.read().await else { panic!("a message") };
    assert_eq!(first.properties.find_number(property::MESSAGE_EXPIRY), Some(100));
    // Nothing comes while the first one is not acknowledged, and that is how time passes.
    let quiet = tokio::time::timeout(Duration::from_millis(1100), slow.read()).await;
    assert!(quiet.is_err());
    slow.acknowledge(first.id).await;
    let third = slow.message().await;
    assert_eq!(third.properties.find_number(property::MESSAGE_EXPIRY), Some(99));
    assert_eq!(hub.stats().expired, 1);
}

#[tokio::test]
async fn a_slow_client_does_not_slow_others_and_holds_little() {
    for workers in [1, 2] {
        let hub = Hub::builder().bind("127.0.0.1:0").workers(workers);
        let hub = hub.limits(|limits| limits.queued_bytes = 256 * 1024);
        let hub = hub.start().await.expect("started");
        let address = hub.local_addr().expect("bound");
        // It never reads what comes after its SUBACK.
        let mut slow = client(address, "slow").await;
        assert_eq!(slow.subscribe("t", 0).await, 0);
        let mut quick = client(address, "quick").await;
        assert_eq!(quick.subscribe("t", QOS_1).await, 1);
        let mut sender = client(address, "sender").await;
        let (mut sent, payload) = (0, vec![7; 64 * 1024]);
        while hub.stats().overflowed == 0 {
            assert_eq!(sender.ask("t", &payload, &Properties::none()).await, 0);
            assert_eq!(quick.message().await.payload.len(), payload.len());
            sent += 1;
            // What the kernel's two buffers take, and the 256 KiB above.
            assert!(sent < 1000, "the queue of the slow client has no bound");
        }
        for _ in 0..10 {
            assert_eq!(sender.ask("t", b"on", &Properties::none()).await, 0);
            assert_eq!(quick.message().await.payload, b"on");
        }
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_closed_and_one_that_reads_slowly_is_not() {
    let hub = Hub::builder().bind("127.0.0.1:0").limits(|limits| {
        limits.stalled = Duration::from_millis(400);
        limits.queued_bytes = 16 * 1024 * 1024;
    });
    let hub = hub.start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    let (mut deaf, mut slow) = (client(address, "deaf").await, client(address, "slow").await);
    assert_eq!(deaf.subscribe("t", 0).await, 0);
    assert_eq!(slow.subscribe("t", 0).await, 0);
    let mut sender = client(address, "sender").await;
    let (_, mut presence) = hub.presence();
    // More than the kernel's buffers take.
    let payload = vec![7; 256 * 1024];
    for _ in 0..60 {
        assert_eq!(sender.ask("t", &payload, &Properties::none()).await, 0);
    }
    let mut read = 0;
    let closed = loop {
        tokio::select! {
            change = presence.next() => break change,
            () = tokio::time::sleep(Duration::from_millis(50)), if read < 60 => {
                assert_eq!(slow.message().await.payload.len(), payload.len());
                read += 1;
            }
        }
    };
    let Some(Change::Disconnected(info)) = closed else { panic!("{closed:?}") };
    assert_eq!(&*info.client_id, "deaf");
    for _ in read..60 {
        assert_eq!(slow.message().await.payload.len(), payload.len());
    }
    slow.ping().await;
    assert_eq!(slow.read().await, Some(Packet::PingResp));
}

#[tokio::test]
async fn a_message_too_large_for_its_subscriber_breaks_nothing() {
    let (_hub, address) = hub(1).await;
    let small = Properties::none().number(property::MAXIMUM_PACKET_SIZE, 100);
    let mut b = Raw::connect(address, &Connect::new("b").properties(small)).await;
    assert_eq!(b.subscribe("t", QOS_1).await, 1);
    let mut a = client(address, "a").await;
    assert_eq!(a.ask("t", &[0; 200], &Properties::none()).await, 0x97);
    assert_eq!(a.ask("t", b"small", &Properties::none()).await, 0);
    assert_eq!(b.message().await.payload, b"small");
}

/// Each of them is answered with 503, to the same client: the answers must not be sent from within
/// the sending of what waits.
#[tokio::test]
async fn many_waiting_messages_that_are_too_large_are_answered_one_by_one() {
    const WAITING: usize = 1000;
    let (_hub, address) = hub(1).await;
    let limits = Properties::none()
        .number(property::RECEIVE_MAXIMUM, 1)
        .number(property::MAXIMUM_PACKET_SIZE, 300);
    let mut a = Raw::connect(address, &Connect::new("a").properties(limits)).await;
    assert_eq!(a.subscribe("t", QOS_1).await, 1);
    assert_eq!(a.subscribe("clients/a/responses", QOS_1).await, 1);
    a.publish(0x32, "t", b"first", &Properties::none()).await;
    let mut first = None;
    while first.is_none() {
        if let Some(Packet::Publish(publish)) = a.read().await {
            first = Some(publish.id);
        }
    }
    for _ in 0..WAITING {
        a.publish(0x32, "t", &[0; 400], &request("clients/a/responses")).await;
    }
    a.acknowledge(first.expect("it has come")).await;
    let mut answers = 0;
    while answers < WAITING {
        if let Some(Packet::Publish(answer)) = a.read().await {
            assert_unavailable(&answer);
            answers += 1;
            a.acknowledge(answer.id).await;
        }
    }
}

#[tokio::test]
async fn a_3_1_1_client_gets_and_sends_messages_without_properties() {
    let (_hub, address) = hub(1).await;
    let mut old = Raw::connect(address, &Connect::new("old").version(4)).await;
    let mut new = client(address, "new").await;
    assert_eq!(old.subscribe("to/old", QOS_1).await, 1);
    assert_eq!(old.subscribe("clients/new/responses", QOS_1).await, 0x80);
    assert_eq!(new.subscribe("to/new", QOS_1).await, 1);
    assert_eq!(new.ask("to/old", b"hello", &request("clients/new/responses")).await, 0);
    assert_eq!(old.message().await.payload, b"hello");
    // A retained message is forwarded, and not retained.
    old.publish(0x33, "to/new", b"hi", &Properties::none()).await;
    assert!(matches!(old.read().await, Some(Packet::PubAck { .. })));
    let message = new.message().await;
    assert_eq!((&message.payload[..], message.retain), (&b"hi"[..], false));
    old.ping().await;
    assert_eq!(old.read().await, Some(Packet::PingResp));
}
