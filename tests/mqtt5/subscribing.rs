//! §3.8 to §3.11, §4.7: SUBSCRIBE, UNSUBSCRIBE and topic filters.

use crate::raw::{Packet, Properties, Raw, packet, string};
use crate::server::{AT_QOS_0, AT_QOS_1, NO_LOCAL, QOS_1, Server, assert_quiet, publish};

clauses! {
    both every_filter_gets_its_reason_code {
        "MQTT-3.8.4-1": "SUBSCRIBE is answered with SUBACK",
        "MQTT-3.8.4-2": "SUBACK has the packet identifier of its SUBSCRIBE",
        "MQTT-2.2.1-6": "so has UNSUBACK",
        "MQTT-3.8.4-5": "several filters in one packet are as several packets with one answer",
        "MQTT-3.8.4-6": "there is a reason code for each filter",
        "MQTT-3.9.3-1": "in the order of the filters",
        "MQTT-3.8.4-7": "it says which QoS was granted, or that none was",
        "MQTT-3.2.2-10": "a filter at QoS 2 is taken, whatever the server's highest QoS is",
    }
    both a_subscription_is_replaced {
        "MQTT-3.8.4-3": "the same filter again replaces the subscription",
    }
    hub("mosquitto 2.0.11 keeps the old No Local") a_subscription_is_replaced_with_its_options {
        "MQTT-3.8.4-3": "and its options",
    }
    both the_lower_qos_counts {
        "MQTT-3.8.4-8": "a message arrives at the lower of its own QoS and that of the subscription",
    }
    both of_several_subscriptions_the_highest_qos_counts {
        "MQTT-3.3.4-2": "with subscriptions that overlap a message arrives at the highest of their QoS",
    }
    both no_local_keeps_back_what_is_ones_own {
        "MQTT-3.8.3-3": "with No Local a client does not get what it has published itself",
    }
    hub("mosquitto 2.0.11 grants it") a_group_has_no_no_local {
        "MQTT-3.8.3-4": "No Local with a shared subscription is a Protocol Error",
    }
    both subscribe_is_well_formed {
        "MQTT-3.8.1-1": "the flags of SUBSCRIBE are 0010",
        "MQTT-3.8.3-1": "filters are UTF-8",
        "MQTT-3.8.3-2": "there is at least one",
        "MQTT-3.8.3-5": "reserved bits of the options are 0",
        "§3.8.3.1": "there is no QoS 3 and no Retain Handling 3",
        "MQTT-3.10.1-1": "the flags of UNSUBSCRIBE are 0010",
        "MQTT-3.10.3-1": "its filters are UTF-8",
        "MQTT-3.10.3-2": "there is at least one",
    }
    hub("mosquitto 2.0.11 answers it") a_ping_has_no_flags {
        "MQTT-2.1.3-1": "reserved flags have their value",
    }
    both wildcards_have_their_place {
        "MQTT-4.7.1-1": "# is the last level, and all of it",
        "MQTT-4.7.1-2": "+ is all of its level",
    }
    both filters_match_as_they_should {
        "§4.7.1": "# matches its parent and everything below, + one level, also an empty one",
        "MQTT-4.7.2-1": "a wildcard at the beginning does not match a topic that begins with $",
        "MQTT-4.7.3-4": "names are compared as they are: case, spaces and empty levels count",
    }
    both an_end_to_a_subscription {
        "MQTT-3.10.4-1": "UNSUBSCRIBE ends the subscription with exactly this filter",
        "MQTT-3.10.4-2": "then nothing new is delivered for it",
        "MQTT-3.10.4-4": "it is answered with UNSUBACK",
        "MQTT-3.10.4-5": "with its packet identifier, also when there was nothing to end",
        "MQTT-3.10.4-6": "several filters in one packet are as several packets",
        "MQTT-3.11.3-1": "with a reason code for each, in order",
    }
    both what_is_under_way_is_completed {
        "MQTT-3.10.4-3": "a message at QoS 1 that was sent before UNSUBSCRIBE is completed",
    }
}

fn subscribe(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], &[0]].concat();
    for (filter, options) in filters {
        body.extend(string(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

fn unsubscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], &[0]].concat();
    for filter in filters {
        body.extend(string(filter));
    }
    packet(0xA2, &body)
}

/// The packet identifier of a SUBACK or an UNSUBACK, and its reason codes.
async fn acknowledged(raw: &mut Raw, first: u8) -> (u16, Vec<u8>) {
    let (kind, body) = raw.read_bytes().await.expect("an acknowledgement");
    assert_eq!(kind, first);
    // No property is longer than a byte can say.
    let reasons = body[3 + usize::from(body[2])..].to_vec();
    (u16::from_be_bytes([body[0], body[1]]), reasons)
}

async fn every_filter_gets_its_reason_code(server: &Server) {
    let mut a = server.client("a").await;
    let highest = match server {
        Server::Hub(_) => 1,
        Server::Mosquitto(_) => 2,
    };
    a.send(&subscribe(7, &[("a", 0), ("b", 1), ("c", 2), ("a", 1), ("d/#", 0)])).await;
    assert_eq!(acknowledged(&mut a, 0x90).await, (7, vec![0, 1, highest, 1, 0]));
    a.send(&subscribe(65_535, &[("e", 1)])).await;
    assert_eq!(acknowledged(&mut a, 0x90).await, (65_535, vec![1]));
    let mut writer = server.client("writer").await;
    for topic in ["a", "b", "c", "d", "e"] {
        assert_eq!(writer.ask(topic, b"", &Properties::none()).await, 0);
        assert_eq!(a.message().await.topic, topic);
    }
    assert_quiet(&mut a, "a copy").await;
}

async fn a_subscription_is_replaced(server: &Server) {
    replace(server, &[QOS_1, 0, 0, QOS_1, QOS_1]).await;
}

async fn a_subscription_is_replaced_with_its_options(server: &Server) {
    replace(server, &[QOS_1, NO_LOCAL, 0, QOS_1 | NO_LOCAL, QOS_1]).await;
}

async fn replace(server: &Server, with: &[u8]) {
    let mut a = server.client("a").await;
    for &options in with {
        let granted = options & 1;
        assert_eq!(a.subscribe("t", options).await, granted);
        a.publish(AT_QOS_0, "t", b"own", &Properties::none()).await;
        if options & NO_LOCAL == 0 {
            assert_eq!(a.message().await.payload, b"own");
        }
        let mut writer = server.client("writer").await;
        assert_eq!(writer.ask("t", b"x", &Properties::none()).await, 0);
        let message = a.message().await;
        assert_eq!((&message.payload[..], message.qos), (&b"x"[..], granted));
        assert_quiet(&mut a, "a copy").await;
    }
}

async fn the_lower_qos_counts(server: &Server) {
    for granted in [0, 1] {
        let mut a = server.client("a").await;
        assert_eq!(a.subscribe("t", granted).await, granted);
        let mut writer = server.client("writer").await;
        for (first, sent) in [(AT_QOS_0, 0), (AT_QOS_1, 1)] {
            writer.publish(first, "t", b"", &Properties::none()).await;
            assert_eq!(a.message().await.qos, granted.min(sent));
        }
    }
}

async fn of_several_subscriptions_the_highest_qos_counts(server: &Server) {
    let mut a = server.client("a").await;
    for (filter, qos) in [("t/#", 0), ("t/+", 1), ("t/1", 0)] {
        assert_eq!(a.subscribe(filter, qos).await, qos);
    }
    let mut writer = server.client("writer").await;
    assert_eq!(writer.ask("t/1", b"", &Properties::none()).await, 0);
    a.ping().await;
    let mut arrived = Vec::new();
    while let Some(Packet::Publish(publish)) = a.read().await {
        arrived.push(publish.qos);
    }
    // One for each subscription is allowed as well.
    arrived.sort_unstable();
    match server {
        Server::Hub(_) => assert_eq!(arrived, [1]),
        Server::Mosquitto(_) => assert_eq!(arrived.last(), Some(&1)),
    }
}

async fn no_local_keeps_back_what_is_ones_own(server: &Server) {
    let mut a = server.client("a").await;
    assert_eq!(a.subscribe("t", QOS_1 | NO_LOCAL).await, 1);
    a.publish(AT_QOS_0, "t", b"own", &Properties::none()).await;
    assert_quiet(&mut a, "its own").await;
    let mut b = server.subscriber("b", "t").await;
    a.publish(AT_QOS_0, "t", b"for b", &Properties::none()).await;
    assert_eq!(b.message().await.payload, b"for b");
    b.publish(AT_QOS_0, "t", b"for both", &Properties::none()).await;
    assert_eq!(b.message().await.payload, b"for both");
    assert_eq!(a.message().await.payload, b"for both");
}

async fn a_group_has_no_no_local(server: &Server) {
    let bytes = subscribe(1, &[("$share/g/t", QOS_1 | NO_LOCAL)]);
    server.refuses(&bytes, &[0x82], "No Local with a group").await;
}

async fn subscribe_is_well_formed(server: &Server) {
    let flags = |first: u8, bytes: Vec<u8>| [&[first][..], &bytes[1..]].concat();
    let not_utf_8 = [0, 1, 0, 0, 1, 0xFF];
    for (what, bytes) in [
        ("flags 0000", flags(0x80, subscribe(1, &[("t", 1)]))),
        ("flags 0011", flags(0x83, subscribe(1, &[("t", 1)]))),
        ("a filter that is not UTF-8", packet(0x82, &[&not_utf_8[..], &[1]].concat())),
        ("a filter with U+0000", subscribe(1, &[("t\0", 1)])),
        ("no filter", subscribe(1, &[])),
        ("a filter without options", packet(0x82, &[0, 1, 0, 0, 1, b't'])),
        ("bit 6 of the options", subscribe(1, &[("t", 0x40)])),
        ("bit 7 of the options", subscribe(1, &[("t", 0x80)])),
        ("QoS 3", subscribe(1, &[("t", 3)])),
        ("Retain Handling 3", subscribe(1, &[("t", 0x30)])),
        ("packet identifier 0", subscribe(0, &[("t", 1)])),
        ("UNSUBSCRIBE with flags 0000", flags(0xA0, unsubscribe(1, &["t"]))),
        ("UNSUBSCRIBE of what is not UTF-8", packet(0xA2, &not_utf_8)),
        ("UNSUBSCRIBE of nothing", unsubscribe(1, &[])),
        ("UNSUBSCRIBE with packet identifier 0", unsubscribe(0, &["t"])),
        ("a packet of type 0", vec![0, 0]),
    ] {
        server.refuses(&bytes, &[0x81, 0x82, 0x8F], what).await;
    }
}

async fn a_ping_has_no_flags(server: &Server) {
    server.refuses(&[0xC1, 0], &[0x81], "PINGREQ with flags").await;
}

async fn wildcards_have_their_place(server: &Server) {
    for filter in ["#/a", "a#", "a/#/b", "a/b#", "a+", "+a", "a/+b/c", "++", "##", ""] {
        let mut a = server.client("a").await;
        a.send_subscribe(filter, QOS_1).await;
        match a.read().await {
            None | Some(Packet::Disconnect { .. }) => {}
            Some(Packet::SubAck { reasons }) if reasons[0] >= 0x80 => {}
            other => panic!("{filter:?}: {other:?}"),
        }
    }
}

async fn filters_match_as_they_should(server: &Server) {
    let topics = ["a", "a/b", "a/b/c", "a/", "/a", "/", "A", "a/b ", "$x", "$x/b", "a//c"];
    for (filter, expected) in [
        ("#", &["a", "a/b", "a/b/c", "a/", "/a", "/", "A", "a/b ", "a//c"][..]),
        ("a/#", &["a", "a/b", "a/b/c", "a/", "a/b ", "a//c"]),
        ("+", &["a", "A"]),
        ("+/+", &["a/b", "a/", "/a", "/", "a/b "]),
        ("/+", &["/a", "/"]),
        ("a/+/c", &["a/b/c", "a//c"]),
        ("+/b", &["a/b"]),
        ("a", &["a"]),
        ("a/b", &["a/b"]),
        ("$x/#", &["$x", "$x/b"]),
        ("$x/+", &["$x/b"]),
        ("+/#", &["a", "a/b", "a/b/c", "a/", "/a", "/", "A", "a/b ", "a//c"]),
    ] {
        let mut a = server.subscriber("a", filter).await;
        let mut writer = server.client("writer").await;
        for topic in topics {
            writer.ask(topic, b"", &Properties::none()).await;
        }
        a.ping().await;
        let mut matched = Vec::new();
        while let Some(Packet::Publish(publish)) = a.read().await {
            matched.push(publish.topic);
        }
        assert_eq!(matched, expected, "{filter}");
    }
}

async fn an_end_to_a_subscription(server: &Server) {
    let mut a = server.client("a").await;
    for filter in ["t", "t/+", "t/#", "u"] {
        assert_eq!(a.subscribe(filter, QOS_1).await, 1);
    }
    a.send(&unsubscribe(9, &["t/+", "none", "t/+", "T", "t/#"])).await;
    assert_eq!(acknowledged(&mut a, 0xB0).await, (9, vec![0, 0x11, 0x11, 0x11, 0]));
    let mut writer = server.client("writer").await;
    for topic in ["t/1", "t", "u"] {
        writer.ask(topic, b"", &Properties::none()).await;
    }
    assert_eq!(a.message().await.topic, "t");
    assert_eq!(a.message().await.topic, "u");
    a.send(&unsubscribe(10, &["t", "u"])).await;
    assert_eq!(acknowledged(&mut a, 0xB0).await, (10, vec![0, 0]));
    writer.ask("t", b"", &Properties::none()).await;
    assert_quiet(&mut a, "after its end").await;
}

async fn what_is_under_way_is_completed(server: &Server) {
    let mut a = server.subscriber("a", "t").await;
    let mut writer = server.client("writer").await;
    writer.ask("t", b"", &Properties::none()).await;
    let message = publish(&mut a).await;
    assert_eq!(a.unsubscribe("t").await, 0);
    a.acknowledge(message.id).await;
    assert_quiet(&mut a, "it is acknowledged").await;
}
