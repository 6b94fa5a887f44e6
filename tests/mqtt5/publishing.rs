//! §3.3: PUBLISH, and what is acknowledged.

use std::time::Duration;

use crate::raw::{Connect, Packet, Properties, packet, property, string};
use crate::server::{AT_QOS_0, AT_QOS_1, QOS_1, Server, assert_quiet, publish, publish_bytes};

const DUP: u8 = 0b1000;

clauses! {
    both user_properties_arrive_in_their_order {
        "MQTT-3.3.2-17": "user properties are forwarded as they are",
        "MQTT-3.3.2-18": "and in their order, names that repeat included",
        "MQTT-1.5.7-1": "name and value are strings, and may be empty",
    }
    both content_type_and_payload_format_arrive {
        "MQTT-3.3.2-4": "every subscriber gets the Payload Format Indicator (0 is the same as none)",
        "MQTT-3.3.2-20": "every subscriber gets the Content Type as it was sent",
    }
    both a_message_arrives_on_its_topic_as_a_new_one {
        "MQTT-3.3.1-2": "DUP is 0 at QoS 0",
        "MQTT-3.3.1-3": "DUP of what arrives does not depend on that of what was sent",
        "MQTT-3.3.2-3": "the topic matches the subscription",
        "MQTT-4.3.1-1": "a message at QoS 0 leaves with QoS 0 and without DUP",
        "MQTT-4.3.2-2": "a message at QoS 1 leaves with a packet identifier and without DUP",
    }
    both a_message_at_qos_1_is_acknowledged {
        "MQTT-3.3.4-1": "QoS 0 is not acknowledged, QoS 1 with PUBACK",
        "MQTT-4.3.2-4": "PUBACK comes with the packet identifier of the message",
        "MQTT-2.2.1-5": "the same identifier in PUBLISH and PUBACK",
        "MQTT-4.3.2-5": "after PUBACK the same identifier is a new message, with DUP as well",
    }
    hub("mosquitto 2.0.11 does not go on behind a message that has expired") a_message_grows_old_while_it_waits {
        "MQTT-3.3.2-5": "a message whose Message Expiry Interval has passed is not delivered",
        "MQTT-3.3.2-6": "what is delivered has what is left of the interval",
    }
    both a_topic_name_is_well_formed {
        "MQTT-3.3.2-1": "the topic name is UTF-8",
        "MQTT-3.3.2-2": "it has no wildcards",
        "MQTT-4.7.0-1": "wildcards are for filters",
        "MQTT-4.7.3-1": "it has at least one character",
        "MQTT-4.7.3-2": "it has no U+0000",
        "MQTT-1.5.4-1": "strings are well-formed UTF-8, without surrogates",
        "MQTT-1.5.4-2": "strings have no U+0000",
        "MQTT-4.13.1-1": "what is malformed ends the connection",
    }
    both a_message_is_well_formed {
        "MQTT-3.3.1-4": "there is no QoS 3",
        "MQTT-2.2.1-3": "a packet identifier is not 0",
        "MQTT-3.3.2-19": "a Content Type is UTF-8",
        "§2.2.2.2": "a property that PUBLISH does not have ends the connection",
        "§3.3.2": "the header ends within the packet",
    }
    both strings_of_a_message_have_no_null {
        "MQTT-1.5.4-2": "no string of a message has U+0000",
    }
    hub("mosquitto 2.0.11 accepts it") a_subscription_identifier_is_not_published {
        "MQTT-3.3.4-6": "a client does not publish with a Subscription Identifier",
    }
    both aliases_stand_for_topics {
        "MQTT-3.3.2-12": "the server takes every alias from 1 to the Topic Alias Maximum of its CONNACK",
    }
    both aliases_end_with_their_connection {
        "MQTT-3.3.2-7": "aliases are those of one connection",
        "§3.3.2.3.4": "an alias that stands for nothing is a Protocol Error",
    }
    both an_alias_is_within_its_bounds {
        "MQTT-3.3.2-8": "an alias is not 0",
        "MQTT-3.3.2-9": "an alias is not above the Topic Alias Maximum of CONNACK",
    }
    both the_server_uses_no_alias_that_the_client_does_not_take {
        "MQTT-3.1.2-26": "the server uses no alias above the client's Topic Alias Maximum",
        "MQTT-3.1.2-27": "without one it uses none",
        "MQTT-3.3.2-11": "nor in PUBLISH",
    }
}

async fn user_properties_arrive_in_their_order(server: &Server) {
    let mut subscriber = server.subscriber("subscriber", "t").await;
    let mut writer = server.client("writer").await;
    let pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("", ""), ("a", "2"), ("ü", "\u{FEFF}")];
    let properties = pairs.iter().fold(Properties::none(), |all, (n, v)| all.pair(n, v));
    assert_eq!(writer.ask("t", b"", &properties).await, 0);
    let arrived = subscriber.message().await.properties.pairs();
    assert_eq!(arrived, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

async fn content_type_and_payload_format_arrive(server: &Server) {
    let mut first = server.subscriber("first", "t").await;
    let mut second = server.subscriber("second", "#").await;
    let mut writer = server.client("writer").await;
    for (content_type, format) in [("text/plain; charset=utf-8", 1), ("", 0), ("Küche", 1)] {
        let properties = Properties::none()
            .text(property::CONTENT_TYPE, content_type)
            .number(property::PAYLOAD_FORMAT, format);
        assert_eq!(writer.ask("t", "ü".as_bytes(), &properties).await, 0);
        for subscriber in [&mut first, &mut second] {
            let arrived = subscriber.message().await.properties;
            let text = arrived.find_text(property::CONTENT_TYPE);
            assert_eq!(text.as_deref(), Some(content_type));
            let indicator = arrived.find_number(property::PAYLOAD_FORMAT);
            assert_eq!(indicator.unwrap_or(0), format);
        }
    }
    assert_eq!(writer.ask("t", b"", &Properties::none()).await, 0);
    let arrived = first.message().await.properties;
    assert_eq!(arrived, Properties::none(), "nothing is added");
}

async fn a_message_arrives_on_its_topic_as_a_new_one(server: &Server) {
    let mut subscriber = server.subscriber("subscriber", "t/+").await;
    let mut writer = server.client("writer").await;
    for (first, qos) in [(AT_QOS_0, 0), (AT_QOS_1, 1), (AT_QOS_1 | DUP, 1)] {
        writer.publish(first, "t/1", b"x", &Properties::none()).await;
        let message = publish(&mut subscriber).await;
        assert_eq!((message.topic.as_str(), message.qos), ("t/1", qos));
        assert_eq!((message.dup, message.retain), (false, false));
        assert_eq!(message.id == 0, qos == 0);
        if qos == 1 {
            subscriber.acknowledge(message.id).await;
        }
    }
}

async fn a_message_at_qos_1_is_acknowledged(server: &Server) {
    let mut subscriber = server.subscriber("subscriber", "t").await;
    let mut writer = server.client("writer").await;
    writer.send(&publish_bytes(AT_QOS_0, b"t", 0, &[])).await;
    assert_quiet(&mut writer, "QoS 0 is not acknowledged").await;
    subscriber.message().await;
    for (first, sent) in [(AT_QOS_1, 9), (AT_QOS_1, 9), (AT_QOS_1 | DUP, 9), (AT_QOS_1, 65_535)] {
        writer.send(&publish_bytes(first, b"t", sent, &[])).await;
        match writer.read().await {
            Some(Packet::PubAck { id, reason: 0, .. }) => assert_eq!(id, sent),
            other => panic!("{other:?}"),
        }
        subscriber.message().await;
    }
}

async fn a_message_grows_old_while_it_waits(server: &Server) {
    let one = Properties::none().number(property::RECEIVE_MAXIMUM, 1);
    let mut slow = server.connect(&Connect::new("slow").properties(one)).await;
    assert_eq!(slow.subscribe("t", QOS_1).await, 1);
    let mut writer = server.client("writer").await;
    for (expiry, name) in [(100, b"a"), (1, b"b"), (100, b"c")] {
        let properties = Properties::none().number(property::MESSAGE_EXPIRY, expiry);
        assert_eq!(writer.ask("t", name, &properties).await, 0);
    }
    let first = publish(&mut slow).await;
    assert_eq!(first.properties.find_number(property::MESSAGE_EXPIRY), Some(100));
    // The others wait for its acknowledgement, and that is how time passes: servers count seconds.
    let quiet = tokio::time::timeout(Duration::from_millis(2500), slow.read()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    slow.acknowledge(first.id).await;
    let next = slow.message().await;
    assert_eq!(next.payload, b"c");
    let left = next.properties.find_number(property::MESSAGE_EXPIRY).expect("sent with it");
    assert!((80..=98).contains(&left), "{left}");
}

async fn a_topic_name_is_well_formed(server: &Server) {
    let mut subscriber = server.subscriber("subscriber", "#").await;
    for topic in [&b""[..], b"+", b"a/#", b"a/+/b", b"a\0b", &[0xFF], &[b'a', 0xED, 0xA0, 0x80]] {
        let what = format!("{topic:02x?}");
        for first in [AT_QOS_0, AT_QOS_1] {
            let bytes = publish_bytes(first, topic, 1, &[]);
            server.refuses(&bytes, &[0x81, 0x82, 0x90], &what).await;
        }
        assert_quiet(&mut subscriber, &what).await;
    }
}

async fn a_message_is_well_formed(server: &Server) {
    let mut subscriber = server.subscriber("subscriber", "#").await;
    let not_utf_8 = [property::CONTENT_TYPE, 0, 1, 0xFF];
    let foreign = [property::RECEIVE_MAXIMUM, 0, 1];
    let unknown = [0x7F, 0];
    for (what, bytes) in [
        ("QoS 3", publish_bytes(0x36, b"t", 1, &[])),
        ("packet identifier 0", publish_bytes(AT_QOS_1, b"t", 0, &[])),
        ("a Content Type that is not UTF-8", publish_bytes(AT_QOS_0, b"t", 0, &not_utf_8)),
        ("a property of CONNECT", publish_bytes(AT_QOS_0, b"t", 0, &foreign)),
        ("a property that there is not", publish_bytes(AT_QOS_0, b"t", 0, &unknown)),
        ("no property length", packet(AT_QOS_0, &string("t"))),
        ("properties beyond the packet", packet(AT_QOS_0, &[0, 1, b't', 9, 1])),
        ("a topic beyond the packet", packet(AT_QOS_0, &[0, 9, b't'])),
    ] {
        server.refuses(&bytes, &[0x81, 0x82], what).await;
        assert_quiet(&mut subscriber, what).await;
    }
}

async fn strings_of_a_message_have_no_null(server: &Server) {
    let mut subscriber = server.subscriber("subscriber", "#").await;
    for properties in [
        Properties::none().text(property::CONTENT_TYPE, "a\0"),
        Properties::none().text(property::RESPONSE_TOPIC, "\0"),
        Properties::none().pair("a\0b", ""),
        Properties::none().pair("a", "\0"),
    ] {
        let mut raw = server.client("offender").await;
        raw.publish(AT_QOS_1, "t", b"", &properties).await;
        server.ends(&mut raw, &[0x81], "U+0000").await;
        assert_quiet(&mut subscriber, "U+0000").await;
    }
}

async fn a_subscription_identifier_is_not_published(server: &Server) {
    let bytes = publish_bytes(AT_QOS_1, b"t", 1, &[0x0B, 1]);
    server.refuses(&bytes, &[0x82], "a Subscription Identifier").await;
}

fn alias(alias: u32) -> Properties {
    Properties::none().number(property::TOPIC_ALIAS, alias)
}

/// Of CONNACK.
async fn alias_maximum(server: &Server) -> u32 {
    let (_, _, _, connack) = server.connack(&Connect::new("asks")).await;
    connack.find_number(property::TOPIC_ALIAS_MAXIMUM).unwrap_or(0)
}

async fn aliases_stand_for_topics(server: &Server) {
    let mut subscriber = server.subscriber("subscriber", "#").await;
    let mut writer = server.client("writer").await;
    let last = alias_maximum(server).await;
    for number in 1..=last {
        assert_eq!(writer.ask(&format!("t{number}"), b"", &alias(number)).await, 0);
        assert_eq!(subscriber.message().await.topic, format!("t{number}"));
    }
    for number in (1..=last).rev() {
        assert_eq!(writer.ask("", b"", &alias(number)).await, 0);
        assert_eq!(subscriber.message().await.topic, format!("t{number}"));
    }
    // It stands for another one from now on.
    for topic in ["other", ""] {
        assert_eq!(writer.ask(topic, b"", &alias(1)).await, 0);
        assert_eq!(subscriber.message().await.topic, "other");
    }
}

async fn aliases_end_with_their_connection(server: &Server) {
    let mut subscriber = server.subscriber("subscriber", "t").await;
    let mut writer = server.client("writer").await;
    assert_eq!(writer.ask("t", b"", &alias(1)).await, 0);
    subscriber.message().await;
    let mut again = server.client("writer").await;
    again.publish(AT_QOS_1, "", b"", &alias(1)).await;
    server.ends(&mut again, &[0x82, 0x94], "an alias of another connection").await;
    assert_quiet(&mut subscriber, "an alias of another connection").await;
}

async fn an_alias_is_within_its_bounds(server: &Server) {
    let above = u16::try_from(alias_maximum(server).await + 1).expect("not the highest there is");
    for number in [0, above] {
        let [high, low] = number.to_be_bytes();
        let bytes = publish_bytes(AT_QOS_1, b"t", 1, &[property::TOPIC_ALIAS, high, low]);
        server.refuses(&bytes, &[0x94, 0x82, 0x81], &format!("alias {number}")).await;
    }
}

async fn the_server_uses_no_alias_that_the_client_does_not_take(server: &Server) {
    for maximum in [None, Some(0), Some(2)] {
        let mut properties = Properties::none();
        if let Some(maximum) = maximum {
            properties = properties.number(property::TOPIC_ALIAS_MAXIMUM, maximum);
        }
        let mut subscriber =
            server.connect(&Connect::new("subscriber").properties(properties)).await;
        assert_eq!(subscriber.subscribe("#", QOS_1).await, 1);
        let mut writer = server.client("writer").await;
        for topic in ["a", "b", "c", "a", "a"] {
            assert_eq!(writer.ask(topic, b"", &alias(1)).await, 0);
            let message = subscriber.message().await;
            let alias = message.properties.find_number(property::TOPIC_ALIAS).unwrap_or(0);
            assert!(alias <= maximum.unwrap_or(0), "{alias}");
            assert!(alias > 0 || message.topic == topic);
        }
    }
}
