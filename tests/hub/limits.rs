//! What a client may not do, and how it learns that.

use tower_mqtt::Hub;

use super::raw::{Connect, Packet, Properties, Raw, packet, property, string};
use super::{client, hub};

#[tokio::test]
async fn a_packet_too_large_ends_the_connection() {
    let hub = Hub::builder().bind("127.0.0.1:0").limits(|limits| limits.packet = 1000);
    let hub = hub.start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    let mut a = client(address, "a").await;
    a.publish(0x30, "t", &[0; 900], &Properties::none()).await;
    a.ping().await;
    assert_eq!(a.read().await, Some(Packet::PingResp));
    a.publish(0x30, "t", &[0; 1000], &Properties::none()).await;
    assert_eq!(a.last_words().await, Some(0x95));
}

#[tokio::test]
async fn a_retained_message_ends_the_connection() {
    let (_hub, address) = hub(1).await;
    for first in [0x31, 0x33] {
        let mut a = client(address, "a").await;
        a.publish(first, "t", b"", &Properties::none()).await;
        assert_eq!(a.last_words().await, Some(0x9A), "{first:#x}");
    }
}

#[tokio::test]
async fn qos_2_ends_the_connection() {
    let (_hub, address) = hub(1).await;
    let mut a = client(address, "a").await;
    a.publish(0x34, "t", b"", &Properties::none()).await;
    assert_eq!(a.last_words().await, Some(0x9B));
    let mut old = Raw::connect(address, &Connect::new("old").version(4)).await;
    old.publish(0x34, "t", b"", &Properties::none()).await;
    assert_eq!(old.read().await, None);
}

#[tokio::test]
async fn a_subscription_at_qos_2_gets_qos_1() {
    let (_hub, address) = hub(1).await;
    assert_eq!(client(address, "a").await.subscribe("t", 2).await, 1);
}

#[tokio::test]
async fn subscriptions_are_limited_and_those_that_end_make_room() {
    let hub = Hub::builder().bind("127.0.0.1:0").limits(|limits| limits.subscriptions = 2);
    let hub = hub.start().await.expect("started");
    let mut a = client(hub.local_addr().expect("bound"), "a").await;
    assert_eq!(a.subscribe("1", 1).await, 1);
    assert_eq!(a.subscribe("clients/a/responses", 1).await, 1);
    assert_eq!(a.subscribe("3", 1).await, 0x97);
    // One that is there is replaced [MQTT-3.8.4-3].
    assert_eq!(a.subscribe("1", 0).await, 0);
    assert_eq!(a.unsubscribe("1").await, 0);
    assert_eq!(a.subscribe("3", 1).await, 1);
}

#[tokio::test]
async fn the_bytes_of_filters_are_limited_and_those_that_end_make_room() {
    for workers in [1, 2] {
        let (_hub, address) = hub(workers).await;
        let mut a = client(address, "a").await;
        // 256 KiB together, with 32 bytes for each level.
        for number in 0..4 {
            assert_eq!(a.subscribe(&format!("{number:0>65471}"), 1).await, 1);
        }
        assert_eq!(a.subscribe(&format!("{}/four", "4".repeat(63)), 1).await, 1);
        assert_eq!(a.subscribe("5", 1).await, 0x97);
        assert_eq!(a.subscribe("clients/a/responses", 1).await, 0x97, "they count together");
        // One that is there is replaced [MQTT-3.8.4-3].
        assert_eq!(a.subscribe(&format!("{:0>65471}", 3), 0).await, 0);
        assert_eq!(a.unsubscribe(&format!("{}/four", "4".repeat(63))).await, 0);
        assert_eq!(a.subscribe("5", 1).await, 1);
    }
}

#[tokio::test]
async fn a_filter_has_a_limited_number_of_levels() {
    let (_hub, address) = hub(1).await;
    let mut a = client(address, "a").await;
    assert_eq!(a.subscribe(&vec!["+"; 128].join("/"), 1).await, 1);
    assert_eq!(a.subscribe(&vec!["+"; 129].join("/"), 1).await, 0x8F);
    assert_eq!(a.subscribe(&"/".repeat(65_535), 1).await, 0x8F);
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_one_connection_only() {
    let (_hub, address) = hub(1).await;
    let mut witness = client(address, "witness").await;
    let with_wildcard = packet(0x30, &[&string("a/#")[..], &[0]].concat());
    let bad_filter = packet(0x82, &[&[0, 1, 0][..], &string("a/#/b"), &[1]].concat());
    let bad_utf8 = packet(0x30, &[0, 2, 0xC3, 0x28, 0]);
    let no_puback_due = packet(0x40, &[0, 9]);
    let second_connect = Connect::new("b").bytes();
    let unknown_alias = packet(0x30, &[0, 0, 3, 0x23, 0, 5]);
    for bytes in [with_wildcard, bad_filter, bad_utf8, no_puback_due, second_connect, unknown_alias]
    {
        let mut a = client(address, "a").await;
        a.send(&bytes).await;
        // Some are refused with a packet, some by closing; none is an open question.
        a.ping().await;
        let mut answers = 0;
        while let Some(packet) = a.read().await {
            answers += 1;
            if packet == Packet::PingResp || answers > 3 {
                break;
            }
        }
    }
    witness.ping().await;
    assert_eq!(witness.read().await, Some(Packet::PingResp));
}

/// The codec alone would wait for 4 GiB.
#[tokio::test]
async fn a_header_longer_than_its_packet_ends_the_connection() {
    let (_hub, address) = hub(1).await;
    let properties = [&[property::RESPONSE_TOPIC][..], &string("a/b")].concat();
    let header = [&string("t")[..], &[6], &properties].concat();
    let mut five = client(address, "five").await;
    five.send(&[&[0x30, 5][..], &header].concat()).await;
    assert_eq!(five.last_words().await, Some(0x81));
    let mut old = Raw::connect(address, &Connect::new("old").version(4)).await;
    old.send(&[&[0x30, 2][..], &string("t")].concat()).await;
    assert_eq!(old.read().await, None);
}

#[tokio::test]
async fn a_response_topic_that_is_none_is_refused() {
    let (_hub, address) = hub(1).await;
    let mut a = client(address, "a").await;
    assert_eq!(a.subscribe("t", 1).await, 1);
    for bad in ["a/#", "+", ""] {
        let properties = Properties::none().text(property::RESPONSE_TOPIC, bad);
        assert_eq!(a.ask("t", b"", &properties).await, 0x90, "{bad:?}");
    }
}
