//! §4.6, §4.9 and Maximum Packet Size: in which order, how many at once, and how large.

use std::collections::HashSet;

use crate::raw::{Connect, Packet, Properties, Raw, packet, property};
use crate::server::{AT_QOS_0, AT_QOS_1, QOS_1, Server, assert_quiet, publish};

clauses! {
    both messages_keep_their_order {
        "MQTT-4.6.0-5": "what one client publishes to one topic at one QoS arrives in that order",
        "MQTT-4.6.0-6": "for every topic and every subscription that is not shared",
    }
    both no_more_than_the_receive_maximum_at_once {
        "MQTT-3.3.4-9": "the server sends no more unacknowledged messages than the client's Receive Maximum",
        "MQTT-4.9.0-1": "it begins with that many",
        "MQTT-4.9.0-2": "at none left it waits",
        "MQTT-4.3.2-3": "a message is unacknowledged until its PUBACK",
        "MQTT-2.2.1-4": "each has a packet identifier that is not 0 and not in use",
        "MQTT-4.3.2-1": "also for each new message",
    }
    both other_packets_do_not_wait {
        "MQTT-3.3.4-10": "only messages at QoS 1 wait for acknowledgements",
        "MQTT-4.9.0-3": "everything else is answered when no message may be sent",
    }
    both a_negative_acknowledgement_is_one {
        "MQTT-4.4.0-2": "a message that was refused in PUBACK is acknowledged, and not sent again",
    }
    both nothing_is_sent_twice {
        "MQTT-4.4.0-1": "within a connection no message is sent again",
    }
    hub("mosquitto 2.0.11 sends one byte too many") what_a_client_does_not_take_is_not_sent {
        "MQTT-3.1.2-24": "no packet is longer than the client's Maximum Packet Size",
        "MQTT-3.1.2-25": "a message that is too long is dropped for this client, and what follows arrives",
    }
    hub("mosquitto has no Maximum Packet Size by default") what_the_server_does_not_take_ends_the_connection {
        "MQTT-3.2.2-15": "a packet longer than the Maximum Packet Size of CONNACK ends the connection (0x95)",
    }
    both a_length_has_four_bytes_at_most {
        "§1.5.5": "a Variable Byte Integer has at most four bytes",
    }
    hub("mosquitto 2.0.11 waits for what is not to come") what_only_a_server_sends_ends_the_connection {
        "MQTT-4.13.1-1": "a client sends no packets of a server",
    }
    both bytes_may_come_one_by_one {
        "§2.1.4": "where packets begin and end is said by Remaining Length, not by how bytes arrive",
    }
}

async fn messages_keep_their_order(server: &Server) {
    let mut a = server.subscriber("a", "t/#").await;
    let mut writer = server.client("writer").await;
    for number in 0..100_u8 {
        let topic = if number % 3 == 0 { "t/1" } else { "t/2" };
        writer.publish(AT_QOS_1, topic, &[number], &Properties::none()).await;
    }
    for number in 0..100 {
        assert_eq!(a.message().await.payload, [number]);
    }
}

async fn limited(server: &Server, receive_maximum: u32) -> Raw {
    let limit = Properties::none().number(property::RECEIVE_MAXIMUM, receive_maximum);
    let mut raw = server.connect(&Connect::new("limited").properties(limit)).await;
    assert_eq!(raw.subscribe("t", QOS_1).await, 1);
    raw
}

async fn no_more_than_the_receive_maximum_at_once(server: &Server) {
    let mut limited = limited(server, 3).await;
    let mut writer = server.client("writer").await;
    for number in 0..9 {
        assert_eq!(writer.ask("t", &[number], &Properties::none()).await, 0);
    }
    let (mut in_flight, mut next) = (Vec::new(), 0);
    while next < 9 || !in_flight.is_empty() {
        while next < 9 && in_flight.len() < 3 {
            let message = publish(&mut limited).await;
            assert_eq!(message.payload, [next]);
            assert!(message.id != 0 && !in_flight.contains(&message.id));
            in_flight.push(message.id);
            next += 1;
        }
        assert_quiet(&mut limited, "more than three at once").await;
        limited.acknowledge(in_flight.pop().expect("there is one")).await;
    }
}

async fn other_packets_do_not_wait(server: &Server) {
    let mut limited = limited(server, 1).await;
    let mut writer = server.client("writer").await;
    for _ in 0..2 {
        assert_eq!(writer.ask("t", b"", &Properties::none()).await, 0);
    }
    let held = publish(&mut limited).await;
    assert_quiet(&mut limited, "a ping").await;
    assert_eq!(limited.subscribe("u", 0).await, 0);
    assert_eq!(limited.unsubscribe("none").await, 0x11);
    let mut other = server.subscriber("other", "v").await;
    assert_eq!(limited.ask("v", b"", &Properties::none()).await, 0);
    other.message().await;
    limited.acknowledge(held.id).await;
    assert_eq!(publish(&mut limited).await.topic, "t");
}

async fn a_negative_acknowledgement_is_one(server: &Server) {
    let mut limited = limited(server, 1).await;
    let mut writer = server.client("writer").await;
    for number in 0..5 {
        assert_eq!(writer.ask("t", &[number], &Properties::none()).await, 0);
    }
    for number in 0..5 {
        let message = publish(&mut limited).await;
        assert_eq!(message.payload, [number]);
        limited.refuse(message.id).await;
    }
    assert_quiet(&mut limited, "a message again").await;
}

async fn nothing_is_sent_twice(server: &Server) {
    let mut a = server.subscriber("a", "t").await;
    let mut writer = server.client("writer").await;
    for number in 0..5 {
        assert_eq!(writer.ask("t", &[number], &Properties::none()).await, 0);
    }
    let mut ids = HashSet::new();
    for number in 0..5 {
        let message = publish(&mut a).await;
        assert_eq!((&message.payload[..], message.dup), (&[number][..], false));
        assert!(ids.insert(message.id));
    }
    // None of them is acknowledged.
    assert_quiet(&mut a, "a message again").await;
}

async fn what_a_client_does_not_take_is_not_sent(server: &Server) {
    let small = Properties::none().number(property::MAXIMUM_PACKET_SIZE, 60);
    let mut a = server.connect(&Connect::new("a").properties(small)).await;
    assert_eq!(a.subscribe("t", QOS_1).await, 1);
    let mut b = server.subscriber("b", "t").await;
    let mut writer = server.client("writer").await;
    // Two bytes before the rest, five of the topic and the property length, two of the identifier.
    for (first, header) in [(AT_QOS_0, 6), (AT_QOS_1, 8)] {
        for size in [60 - header + 1, 60 - header, 200, 1] {
            writer.publish(first, "t", &vec![7; size], &Properties::none()).await;
            assert_eq!(b.message().await.payload.len(), size, "others get it");
            if size + header <= 60 {
                assert_eq!(a.message().await.payload.len(), size);
            }
        }
    }
    assert_quiet(&mut a, "too long").await;
}

async fn what_the_server_does_not_take_ends_the_connection(server: &Server) {
    let (mut a, _, _, connack) = server.connack(&Connect::new("a")).await;
    let size = connack.find_number(property::MAXIMUM_PACKET_SIZE).expect("the hub has one");
    a.publish(AT_QOS_0, "t", &vec![0; size as usize], &Properties::none()).await;
    server.ends(&mut a, &[0x95], "too long").await;
}

async fn a_length_has_four_bytes_at_most(server: &Server) {
    let five = [AT_QOS_0, 0x80, 0x80, 0x80, 0x80, 1];
    server.refuses(&five, &[0x81, 0x95], "a length of five bytes").await;
}

async fn what_only_a_server_sends_ends_the_connection(server: &Server) {
    for kind in [0x20, 0x90, 0xB0, 0xD0] {
        server.refuses(&[kind, 0], &[0x81, 0x82], "what only a server sends").await;
    }
}

async fn bytes_may_come_one_by_one(server: &Server) {
    let mut raw = Raw::open(server.address()).await;
    let subscribe = packet(0x82, &[0, 1, 0, 0, 1, b't', 1]);
    let publish = packet(AT_QOS_0, &[0, 1, b't', 0, b'x']);
    let all = [Connect::new("a").bytes(), subscribe, publish].concat();
    for byte in &all {
        raw.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(matches!(raw.read().await, Some(Packet::ConnAck { reason: 0, .. })));
    assert_eq!(raw.read().await, Some(Packet::SubAck { reasons: vec![1] }));
    assert_eq!(raw.message().await.payload, b"x");
}
