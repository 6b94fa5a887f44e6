//! §3.1 and §3.2: CONNECT and CONNACK.

use std::collections::HashSet;

use crate::raw::{Connect, Packet, Properties, Raw, packet, property, string};
use crate::server::{AT_QOS_0, Server, publish_bytes};

const AUTHENTICATION_DATA: u8 = 0x16;

clauses! {
    both connect_comes_first_and_once {
        "MQTT-3.1.0-1": "the first packet of a client is CONNECT",
        "MQTT-3.1.0-2": "a second CONNECT is a Protocol Error, and ends the connection",
    }
    both connack_comes_first_and_once {
        "MQTT-3.1.4-5": "a CONNECT is accepted with CONNACK, reason code 0",
        "MQTT-3.2.0-1": "nothing comes before CONNACK",
        "MQTT-3.2.0-2": "there is one CONNACK",
        "MQTT-3.2.2-1": "its flags are 0 but for Session Present",
    }
    both the_protocol_is_mqtt_5 {
        "MQTT-3.1.2-1": "another protocol name ends the connection",
        "MQTT-3.1.2-2": "a version that the server does not have ends the connection",
    }
    both connect_is_well_formed {
        "MQTT-3.1.2-3": "the reserved flag is 0",
        "MQTT-3.1.2-11": "without a will, Will QoS is 0",
        "MQTT-3.1.2-12": "there is no Will QoS 3",
        "MQTT-3.1.2-13": "without a will, Will Retain is 0",
        "MQTT-3.1.3-3": "the client identifier is there",
        "MQTT-3.1.3-4": "it is UTF-8",
        "MQTT-3.1.3-11": "the will's topic is UTF-8",
        "MQTT-3.1.3-12": "the user name is UTF-8",
        "MQTT-3.1.4-1": "a CONNECT that is malformed ends the connection",
    }
    both what_connect_must_not_say {
        "§3.1.2.11.3": "Receive Maximum is not 0, and not there twice",
        "§3.1.2.11.4": "Maximum Packet Size is not 0",
        "§3.1.2.11.7": "Request Problem Information is 0 or 1",
        "MQTT-2.2.2-1": "the length of the properties is there, if only 0",
    }
    both a_refusal_is_the_end {
        "MQTT-3.2.2-6": "a refusal has no session",
        "MQTT-3.2.2-7": "a refusal ends the connection",
        "MQTT-3.1.4-6": "what comes after a refused CONNECT is not looked at",
        "MQTT-3.14.0-1": "there is no DISCONNECT without a CONNACK that accepts",
    }
    both client_identifiers_of_23_characters_are_taken {
        "MQTT-3.1.3-5": "client identifiers with 1 to 23 digits and letters are taken",
    }
    both a_client_without_an_identifier_gets_one {
        "MQTT-3.1.3-6": "the server gives an identifier to a client that has none",
        "MQTT-3.1.3-7": "and says in CONNACK which",
        "MQTT-3.2.2-16": "nobody else has it",
    }
    both nothing_is_kept_for_a_clean_start {
        "MQTT-3.1.2-4": "a clean start begins a session without what was before",
        "MQTT-3.1.2-6": "without a session there is a new one, clean start or not",
        "MQTT-3.1.4-4": "Clean Start is looked at",
        "MQTT-3.2.2-2": "with a clean start, no session is said to be present",
        "MQTT-3.2.2-3": "a session that there is not is not said to be present",
    }
    both authentication_without_a_method {
        "MQTT-4.12.0-1": "a method that the server does not have ends the connection",
        "MQTT-4.12.0-6": "without a method in CONNECT there is none in CONNACK",
        "§3.15": "without a method, AUTH is a Protocol Error",
    }
    hub("mosquitto 2.0.11 accepts it") authentication_data_without_a_method {
        "§3.1.2.11.10": "there is no Authentication Data without a method",
    }
    hub("mosquitto 2.0.11 is not held to it") strings_of_connect_have_no_null {
        "MQTT-1.5.4-2": "the strings of CONNECT have no U+0000",
    }
    both connack_fits {
        "MQTT-3.1.2-24": "CONNACK is not longer than the client takes",
    }
}

async fn connect_comes_first_and_once(server: &Server) {
    for (what, bytes) in [
        ("PUBLISH", publish_bytes(AT_QOS_0, b"t", 0, &[])),
        ("PINGREQ", vec![0xC0, 0]),
        ("SUBSCRIBE", packet(0x82, &[0, 1, 0, 0, 1, b't', 0])),
        ("DISCONNECT", vec![0xE0, 0]),
        ("AUTH", vec![0xF0, 0]),
    ] {
        assert_eq!(server.rejects(&bytes, what).await, None, "{what}");
    }
    let again = Connect::new("offender").bytes();
    server.refuses(&again, &[0x82], "a second CONNECT").await;
}

async fn connack_comes_first_and_once(server: &Server) {
    let mut raw = Raw::open(server.address()).await;
    let subscribe = packet(0x82, &[0, 1, 0, 0, 1, b't', 1]);
    let publish = publish_bytes(AT_QOS_0, b"t", 0, &[]);
    raw.send(&[Connect::new("a").bytes(), subscribe, publish, vec![0xC0, 0]].concat()).await;
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let (first, body) = raw.read_bytes().await.expect("four packets");
        if kinds.is_empty() {
            assert_eq!(body[..2], [0, 0]);
        }
        kinds.push(first >> 4);
    }
    // The message and the answer to the ping in either order.
    kinds[2..].sort_unstable();
    assert_eq!(kinds, [2, 9, 3, 13]);
}

async fn the_protocol_is_mqtt_5(server: &Server) {
    let connect = |name: &str, version| {
        packet(0x10, &[&string(name)[..], &[version, 2, 0, 0, 0], &string("a")].concat())
    };
    for (name, version) in [("MQTX", 5), ("mqtt", 5), ("", 5), ("MQTT", 6), ("MQTT", 0)] {
        server.rejects(&connect(name, version), &format!("{name} {version}")).await;
    }
    server.client("a").await;
}

async fn connect_is_well_formed(server: &Server) {
    let connect = |flags: u8, payload: &[u8]| {
        packet(0x10, &[&string("MQTT")[..], &[5, flags, 0, 0, 0], payload].concat())
    };
    let text = |bytes: &[u8]| [&[0, u8::try_from(bytes.len()).expect("short")], bytes].concat();
    let a = string("a");
    let will = |topic: &[u8]| [&a[..], &[0], &text(topic), &a].concat();
    for (what, bytes) in [
        ("the reserved flag", connect(0b11, &a)),
        ("Will QoS without a will", connect(0b0_1010, &a)),
        ("Will Retain without a will", connect(0b10_0010, &a)),
        ("Will QoS 3", connect(0b1_1110, &will(b"t"))),
        ("no client identifier", connect(2, &[])),
        ("a client identifier that is not UTF-8", connect(2, &text(&[0xFF]))),
        ("a client identifier beyond the packet", connect(2, &[0, 9, b'a'])),
        ("a will's topic that is not UTF-8", connect(0b110, &will(&[0xFF]))),
        ("a will without its payload", connect(0b110, &[&a[..], &[0, 0, 1, b't']].concat())),
        ("a user name that is not UTF-8", connect(0x82, &[a.clone(), text(&[0xFF])].concat())),
        ("no user name", connect(0x82, &a)),
        ("flags of the fixed header", [&[0x11], &connect(2, &a)[1..]].concat()),
    ] {
        server.rejects(&bytes, what).await;
    }
}

async fn what_connect_must_not_say(server: &Server) {
    let number = |id, value| Properties::none().number(id, value);
    let twice = number(property::RECEIVE_MAXIMUM, 5).number(property::RECEIVE_MAXIMUM, 5);
    for (what, properties) in [
        ("Receive Maximum 0", number(property::RECEIVE_MAXIMUM, 0)),
        ("two Receive Maximums", twice),
        ("Maximum Packet Size 0", number(property::MAXIMUM_PACKET_SIZE, 0)),
        ("Request Problem Information 2", number(property::REQUEST_PROBLEM_INFORMATION, 2)),
        ("a property of PUBLISH", Properties::none().text(property::RESPONSE_TOPIC, "t")),
    ] {
        server.rejects(&Connect::new("a").properties(properties).bytes(), what).await;
    }
    let without_properties = [&string("MQTT")[..], &[5, 2, 0, 0], &string("")].concat();
    server.rejects(&packet(0x10, &without_properties[..10]), "no length of properties").await;
}

/// A client that the server refuses.
fn refused() -> Connect {
    Connect::new("a").properties(Properties::none().text(property::AUTH_METHOD, "unheard of"))
}

async fn a_refusal_is_the_end(server: &Server) {
    let mut subscriber = server.subscriber("subscriber", "t").await;
    let publish = publish_bytes(AT_QOS_0, b"t", 0, &[]);
    let reason = server.rejects(&[refused().bytes(), publish].concat(), "refused").await;
    assert_eq!(reason, Some(0x8C));
    crate::server::assert_quiet(&mut subscriber, "from a client that was refused").await;
}

async fn client_identifiers_of_23_characters_are_taken(server: &Server) {
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for client_id in ["0", &all[..23], &all[23..46], &all[39..]] {
        server.client(client_id).await;
    }
}

async fn a_client_without_an_identifier_gets_one(server: &Server) {
    let mut given = HashSet::new();
    let mut connected = Vec::new();
    for _ in 0..10 {
        let (raw, _, reason, connack) = server.connack(&Connect::new("")).await;
        assert_eq!(reason, 0);
        given.insert(connack.find_text(property::ASSIGNED_CLIENT_ID).expect("it had none"));
        connected.push(raw);
    }
    assert_eq!(given.len(), 10);
    assert!(!given.contains(""));
    // It is an identifier as any: who connects with it takes the session over.
    let first = given.iter().next().expect("ten");
    let (_, _, _, connack) = server.connack(&Connect::new(first)).await;
    assert_eq!(connack.find(property::ASSIGNED_CLIENT_ID), None);
}

async fn nothing_is_kept_for_a_clean_start(server: &Server) {
    let (_, present, reason, _) = server.connack(&Connect::new("new").resume()).await;
    assert_eq!((present, reason), (false, 0));
    let mut before = server.subscriber("a", "t").await;
    before.disconnect().await;
    assert_eq!(before.read().await, None);
    let (mut after, present, reason, _) = server.connack(&Connect::new("a")).await;
    assert_eq!((present, reason), (false, 0));
    after.publish(AT_QOS_0, "t", b"", &Properties::none()).await;
    crate::server::assert_quiet(&mut after, "a subscription of before").await;
}

async fn authentication_without_a_method(server: &Server) {
    assert_eq!(server.rejects(&refused().bytes(), "a method").await, Some(0x8C));
    let (_, _, _, connack) = server.connack(&Connect::new("a")).await;
    assert_eq!(connack.find(property::AUTH_METHOD), None);
    let again = packet(0xF0, &[&[0x19, 4, property::AUTH_METHOD][..], &string("x")].concat());
    server.refuses(&again, &[0x82], "AUTH").await;
}

async fn authentication_data_without_a_method(server: &Server) {
    let data = Properties::none().text(AUTHENTICATION_DATA, "x");
    let connect = Connect::new("a").properties(data);
    assert_eq!(server.rejects(&connect.bytes(), "data").await, Some(0x82));
}

async fn strings_of_connect_have_no_null(server: &Server) {
    let will = |properties: Properties| {
        let mut body = [&string("MQTT")[..], &[5, 0b110, 0, 0, 0], &string("a")].concat();
        properties.write(&mut body);
        body.extend([string("gone"), string("")].concat());
        packet(0x10, &body)
    };
    for bytes in [
        Connect::new("a\0").bytes(),
        Connect::new("a").credentials("anna\0", "").bytes(),
        Connect::new("a").will("gone\0", "", 0, false).bytes(),
        will(Properties::none().text(property::CONTENT_TYPE, "\0")),
        will(Properties::none().text(property::RESPONSE_TOPIC, "t\0")),
        will(Properties::none().pair("\0", "")),
        will(Properties::none().pair("", "\0")),
    ] {
        let reason = server.rejects(&bytes, "U+0000").await;
        assert!(matches!(reason, Some(0x81 | 0x85 | 0x90)), "{reason:?}");
    }
}

async fn connack_fits(server: &Server) {
    // What only says that it is too long has five bytes.
    for size in [5, 6, 10, 20, 30] {
        let small = Properties::none()
            .number(property::MAXIMUM_PACKET_SIZE, size)
            .number(property::REQUEST_RESPONSE_INFORMATION, 1);
        let mut raw = Raw::open(server.address()).await;
        raw.send(&Connect::new("a").properties(small).bytes()).await;
        if let Some((first, body)) = raw.read_bytes().await {
            assert_eq!(first, 0x20);
            assert!(body.len() + 2 <= size as usize, "{} bytes for {size}", body.len() + 2);
        }
    }
    let Packet::ConnAck { .. } = Raw::try_connect(server.address(), &Connect::new("a")).await.1
    else {
        panic!("it goes on")
    };
}
