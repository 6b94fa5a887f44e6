//! What the hub does not have on purpose, how CONNACK says so, and what happens to who asks for it
//! nevertheless.

use crate::raw::{Connect, Properties, packet, property};
use crate::server::{AT_QOS_1, Server, publish_bytes};

clauses! {
    hub("mosquitto has QoS 2") there_is_no_qos_2 {
        "MQTT-3.2.2-9": "a server without QoS 2 says Maximum QoS 1 in CONNACK",
        "MQTT-3.2.2-11": "a message above it ends the connection (0x9B)",
        "MQTT-3.2.2-12": "so does a will, in CONNACK",
    }
    hub("mosquitto retains") nothing_is_retained {
        "MQTT-3.2.2-13": "a server that retains nothing refuses a will that is to be retained (0x9A)",
        "MQTT-3.2.2-14": "Retain Available 0 in CONNACK: a message to be retained ends the connection (0x9A)",
    }
    hub("mosquitto has Subscription Identifiers") there_are_no_subscription_identifiers {
        "§3.2.2.3.12": "Subscription Identifiers Available 0 in CONNACK: a SUBSCRIBE with one ends the connection (0xA1)",
    }
    hub("mosquitto keeps sessions") no_session_outlives_its_connection {
        "§3.2.2.3.2": "who asks for a session that lasts is told by Session Expiry Interval 0 in CONNACK that it does not",
    }
}

/// Why the hub does not do what a clause asks for, and how a client learns of it.
pub(crate) const DECLINED: &[(&[&str], &str, &str)] = &[
    (
        &[
            "MQTT-3.5.2-*",
            "MQTT-3.6.1-*",
            "MQTT-3.6.2-*",
            "MQTT-3.7.2-*",
            "MQTT-4.3.3-*",
            "MQTT-4.6.0-3",
            "MQTT-4.6.0-4",
            "MQTT-4.8.2-4",
            "MQTT-4.8.2-5",
        ],
        "QoS 2",
        "CONNACK: Maximum QoS 1",
    ),
    (
        &[
            "MQTT-3.3.1-5",
            "MQTT-3.3.1-6",
            "MQTT-3.3.1-7",
            "MQTT-3.3.1-8",
            "MQTT-3.3.1-9",
            "MQTT-3.3.1-10",
            "MQTT-3.3.1-11",
            "MQTT-3.3.1-12",
            "MQTT-3.3.1-13",
            "MQTT-3.1.2-15",
            "MQTT-3.8.4-4",
        ],
        "retained messages",
        "CONNACK: Retain Available 0",
    ),
    (
        &["MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5"],
        "Subscription Identifiers",
        "CONNACK: Subscription Identifiers Available 0",
    ),
    (
        &["MQTT-3.1.2-5", "MQTT-3.1.2-23", "MQTT-3.1.3-9", "MQTT-3.3.1-1"],
        "sessions that outlive their connection, and with them offline queues and delivery again",
        "CONNACK: Session Expiry Interval 0 for who asks, Session Present 0",
    ),
    (
        &[
            "MQTT-3.15.1-1",
            "MQTT-3.15.2-*",
            "MQTT-4.12.0-2",
            "MQTT-4.12.0-4",
            "MQTT-4.12.0-5",
            "MQTT-4.12.1-*",
        ],
        "enhanced authentication",
        "CONNACK 0x8C for who asks",
    ),
    (
        &[
            "MQTT-3.2.2-19",
            "MQTT-3.2.2-20",
            "MQTT-3.4.2-2",
            "MQTT-3.9.2-*",
            "MQTT-3.11.2-*",
            "MQTT-3.14.2-3",
            "MQTT-3.14.2-4",
        ],
        "reason strings, and user properties but in PUBLISH and PUBACK",
        "they are optional",
    ),
];

fn number(connack: &Properties, id: u8) -> Option<u32> {
    connack.find_number(id)
}

async fn there_is_no_qos_2(server: &Server) {
    let (_, _, _, connack) = server.connack(&Connect::new("a")).await;
    assert_eq!(number(&connack, property::MAXIMUM_QOS), Some(1));
    server.refuses(&publish_bytes(0x34, b"t", 1, &[]), &[0x9B], "QoS 2").await;
    let will = Connect::new("a").will("t", "", 2, false);
    assert_eq!(server.rejects(&will.bytes(), "a will at QoS 2").await, Some(0x9B));
}

async fn nothing_is_retained(server: &Server) {
    let (_, _, _, connack) = server.connack(&Connect::new("a")).await;
    assert_eq!(number(&connack, property::RETAIN_AVAILABLE), Some(0));
    server.refuses(&publish_bytes(AT_QOS_1 | 1, b"t", 1, &[]), &[0x9A], "retain").await;
    let will = Connect::new("a").will("t", "", 1, true);
    assert_eq!(server.rejects(&will.bytes(), "a will to be retained").await, Some(0x9A));
}

async fn there_are_no_subscription_identifiers(server: &Server) {
    let (_, _, _, connack) = server.connack(&Connect::new("a")).await;
    assert_eq!(number(&connack, property::SUBSCRIPTION_IDENTIFIERS_AVAILABLE), Some(0));
    let subscribe = packet(0x82, &[0, 1, 2, 0x0B, 1, 0, 1, b't', 1]);
    server.refuses(&subscribe, &[0xA1], "a Subscription Identifier").await;
}

async fn no_session_outlives_its_connection(server: &Server) {
    let lasts = Properties::none().number(property::SESSION_EXPIRY, 100);
    let connect = Connect::new("a").properties(lasts);
    let (mut a, _, reason, connack) = server.connack(&connect).await;
    assert_eq!(reason, 0);
    assert_eq!(number(&connack, property::SESSION_EXPIRY), Some(0));
    assert_eq!(a.subscribe("t", 1).await, 1);
    drop(a);
    let (mut a, present, ..) = server.connack(&connect.resume()).await;
    assert!(!present);
    assert_eq!(a.ask("t", b"", &Properties::none()).await, 0x10);
}
