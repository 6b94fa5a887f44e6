//! What only MQTT 5 has, and the order of what is said.

use tower_mqtt::hub::HubBuilder;

use crate::raw::{Connect, Packet, Properties, Raw, packet, property, string};
use crate::{Hub, client, hub, soon};

const TOPIC_ALIAS: u8 = 0x23;

fn alias(alias: u32) -> Properties {
    Properties::none().number(TOPIC_ALIAS, alias)
}

#[tokio::test]
async fn a_topic_alias_stands_for_its_last_topic() {
    let (_hub, address) = hub(1).await;
    let mut reader = client(address, "reader").await;
    assert_eq!(reader.subscribe("#", 0).await, 0);
    let mut writer = client(address, "writer").await;
    for (topic, number) in [("a", 1), ("b", 16), ("", 1), ("", 16), ("c", 1), ("", 1)] {
        assert_eq!(writer.ask(topic, b"", &alias(number)).await, 0);
    }
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(reader.message().await.topic);
    }
    assert_eq!(seen, ["a", "b", "a", "b", "c", "c"]);
}

#[tokio::test]
async fn an_alias_that_is_none_ends_the_connection() {
    let (_hub, address) = hub(1).await;
    for (topic, number, expected) in [("", 1, 0x82), ("a", 0, 0x94), ("a", 17, 0x94)] {
        let mut writer = client(address, "writer").await;
        writer.publish(0x32, topic, b"", &alias(number)).await;
        match soon(writer.read()).await {
            Some(Packet::Disconnect { reason }) if reason == expected => {}
            // The codec says no more of a number that can be none.
            Some(Packet::Disconnect { reason: 0x81 }) if number == 0 => {}
            other => panic!("{topic:?} {number}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_receive_maximum_is_kept_in_whatever_order_acknowledgements_come() {
    let (_hub, address) = hub(1).await;
    let two = Properties::none().number(property::RECEIVE_MAXIMUM, 2);
    let mut reader = Raw::connect(address, &Connect::new("reader").properties(two)).await;
    assert_eq!(reader.subscribe("t", 1).await, 1);
    let mut writer = client(address, "writer").await;
    for number in 0..8_u8 {
        assert_eq!(writer.ask("t", &[number], &Properties::none()).await, 0);
    }
    let (held, first) = next(&mut reader).await;
    assert_eq!(first, 0);
    for number in 1..8 {
        let (id, payload) = next(&mut reader).await;
        assert_eq!(payload, number, "in order");
        // No third one comes before an acknowledgement: what comes is the answer to a ping.
        reader.ping().await;
        assert_eq!(reader.read().await, Some(Packet::PingResp));
        // The first one is acknowledged last.
        reader.acknowledge(id).await;
    }
    reader.acknowledge(held).await;
    assert_eq!(writer.ask("t", b"\x08", &Properties::none()).await, 0);
    assert_eq!(next(&mut reader).await.1, 8);
}

/// Its packet identifier and its only byte. It is not acknowledged.
async fn next(reader: &mut Raw) -> (u16, u8) {
    match reader.read().await {
        Some(Packet::Publish(publish)) => (publish.id, publish.payload[0]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_follows_the_hubs_own_disconnect() {
    let (_hub, address) = hub(1).await;
    let mut first = client(address, "same").await;
    assert_eq!(first.subscribe("t", 1).await, 1);
    let mut writer = client(address, "writer").await;
    let _second = client(address, "same").await;
    // Nobody is subscribed any more: the subscription went with its session.
    assert_eq!(writer.ask("t", b"", &Properties::none()).await, 0x10);
    let ask = packet(0x32, &[0, 1, b't', 0, 9, 0]);
    first.send(&ask).await;
    assert!(matches!(first.read().await, Some(Packet::Disconnect { reason: 0x8E })));
    assert!(first.read().await.is_none());
}

#[tokio::test]
async fn connack_says_what_there_is() {
    let limits =
        |builder: HubBuilder| builder.limits(|l| (l.receive_maximum, l.packet) = (7, 5000));
    let hub = limits(Hub::builder().bind("127.0.0.1:0")).start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    let (_raw, packet) = Raw::try_connect(address, &Connect::new("a")).await;
    let Packet::ConnAck { properties, .. } = packet else { panic!("{packet:?}") };
    let byte = |id| properties.find(id).map(|value| value[0]);
    assert_eq!(properties.find_number(property::RECEIVE_MAXIMUM), Some(7));
    assert_eq!((byte(property::MAXIMUM_QOS), byte(property::RETAIN_AVAILABLE)), (Some(1), Some(0)));
    let maximum_packet_size = 0x27;
    assert_eq!(properties.find_number(maximum_packet_size), Some(5000));
    let topic_alias_maximum = 0x22;
    assert_eq!(properties.find_number(topic_alias_maximum), Some(16));
}

#[tokio::test]
async fn what_the_codec_lets_through_and_the_standard_does_not_ends_the_connection() {
    let (_hub, address) = hub(1).await;
    // A PUBLISH without a topic, and with a Subscription Identifier.
    let no_topic = packet(0x32, &[0, 0, 0, 9, 0]);
    let identified = packet(0x32, &[0, 1, b't', 0, 9, 2, 0x0B, 1]);
    // A SUBSCRIBE and an UNSUBSCRIBE of nothing.
    let (subscribe, unsubscribe) = (packet(0x82, &[0, 9, 0]), packet(0xA2, &[0, 9, 0]));
    for bytes in [no_topic, identified, subscribe, unsubscribe] {
        let mut raw = client(address, "a").await;
        raw.send(&bytes).await;
        let told = soon(raw.read()).await;
        assert_eq!(told, Some(Packet::Disconnect { reason: 0x82 }), "{bytes:02x?}");
        assert_eq!(soon(raw.read()).await, None);
    }
}

#[tokio::test]
async fn more_reasons_than_a_client_can_take_end_the_connection() {
    let (_hub, address) = hub(1).await;
    let small = Properties::none().number(property::MAXIMUM_PACKET_SIZE, 100);
    let connect = Connect::new("small").properties(small);
    for (first, options) in [(0x82, &[0][..]), (0xA2, &[])] {
        let filters = [&string("t")[..], options].concat();
        let body = |count| [&[0, 9, 0][..], &filters.repeat(count)].concat();
        let mut raw = Raw::connect(address, &connect).await;
        raw.send(&packet(first, &body(50))).await;
        let acknowledged = raw.read().await;
        let Some(Packet::SubAck { reasons } | Packet::UnsubAck { reasons }) = acknowledged else {
            panic!("{acknowledged:?}");
        };
        assert_eq!(reasons.len(), 50);
        raw.send(&packet(first, &body(200))).await;
        assert_eq!(soon(raw.read()).await, Some(Packet::Disconnect { reason: 0x95 }));
        assert_eq!(soon(raw.read()).await, None);
    }
}

#[tokio::test]
async fn a_client_that_takes_no_connack_is_not_left_waiting_for_it() {
    let (hub, address) = hub(1).await;
    // CONNACK 0x95 has five bytes; the codec is a little stricter.
    for (size, told) in [(1, false), (4, false), (20, true)] {
        let small = Properties::none().number(property::MAXIMUM_PACKET_SIZE, size);
        let mut raw = Raw::open(address).await;
        raw.send(&Connect::new("small").properties(small).bytes()).await;
        if told {
            let refused = soon(raw.read()).await;
            assert!(matches!(refused, Some(Packet::ConnAck { reason: 0x95, .. })), "{refused:?}");
        }
        assert_eq!(soon(raw.read()).await, None, "{size}");
        assert!(hub.presence().0.is_empty());
    }
}
