//! Takeover, keep-alive and DISCONNECT.

use crate::raw::{Connect, Packet, Properties, packet, property};
use crate::server::{AT_QOS_0, Server, assert_quiet};

clauses! {
    both a_client_takes_its_session_over {
        "MQTT-3.1.4-3": "when a client connects again, the connection that it has is told so (0x8E) and ends",
        "MQTT-3.1.3-2": "a session belongs to a client identifier",
    }
    both silence_ends_a_connection {
        "MQTT-3.1.2-22": "without a packet for one and a half Keep Alives the connection ends",
        "MQTT-3.2.2-22": "without a Server Keep Alive it is the client's that counts",
    }
    both a_ping_is_answered {
        "MQTT-3.12.4-1": "PINGREQ is answered with PINGRESP",
    }
    both good_bye_is_the_end {
        "§3.14.4": "a server closes the connection after a client's DISCONNECT",
        "MQTT-4.13.2-1": "so it does when the client says that something was wrong",
    }
    both disconnect_is_well_formed {
        "MQTT-3.14.1-1": "reserved bits of DISCONNECT are 0",
        "§3.14.2.2.2": "a session that ends with its connection cannot be made to last by DISCONNECT",
    }
    hub("mosquitto 2.0.11 closes without a DISCONNECT") nothing_follows_disconnect {
        "MQTT-3.14.4-1": "after its DISCONNECT a server sends nothing",
        "MQTT-3.14.4-2": "and closes the connection",
        "MQTT-3.14.2-1": "its reason code is one that there is",
        "MQTT-3.14.2-2": "it has no Session Expiry Interval",
    }
    both a_session_lasts_as_long_as_its_connection {
        "MQTT-4.1.0-1": "what belongs to a session is kept while it is connected",
        "MQTT-4.1.0-2": "and forgotten when it is not, and does not last",
    }
}

async fn a_client_takes_its_session_over(server: &Server) {
    let mut old = server.subscriber("a", "t").await;
    let mut other = server.subscriber("A", "t").await;
    let mut new = server.client("a").await;
    server.ends(&mut old, &[0x8E], "taken over").await;
    assert_quiet(&mut new, "it is connected").await;
    assert_eq!(new.ask("t", b"", &Properties::none()).await, 0);
    other.message().await;
    assert_quiet(&mut new, "the subscription of a session that was clean").await;
}

async fn silence_ends_a_connection(server: &Server) {
    let (mut silent, _, reason, connack) = server.connack(&Connect::new("a").keep_alive(1)).await;
    assert_eq!(reason, 0);
    assert_eq!(connack.find(0x13), None, "a Server Keep Alive");
    let mut stays = server.client("b").await;
    server.ends(&mut silent, &[0x8D], "silence").await;
    assert_quiet(&mut stays, "no Keep Alive").await;
}

async fn a_ping_is_answered(server: &Server) {
    let mut a = server.client("a").await;
    a.send(&[0xC0, 0].repeat(20)).await;
    for _ in 0..20 {
        assert_eq!(a.read().await, Some(Packet::PingResp));
    }
}

async fn good_bye_is_the_end(server: &Server) {
    for bytes in [&[0xE0, 0][..], &[0xE0, 1, 0], &[0xE0, 2, 0, 0], &[0xE0, 2, 0x80, 0]] {
        let mut subscriber = server.subscriber("subscriber", "t").await;
        let mut a = server.client("a").await;
        let late = packet(AT_QOS_0, &[0, 1, b't', 0]);
        a.send(&[bytes, &late].concat()).await;
        assert_eq!(a.read().await, None, "{bytes:02x?}");
        assert_quiet(&mut subscriber, "after good-bye").await;
    }
}

async fn disconnect_is_well_formed(server: &Server) {
    server.refuses(&[0xE1, 0], &[0x81], "reserved bits").await;
    let lasts = packet(0xE0, &[0, 5, property::SESSION_EXPIRY, 0, 0, 0, 9]);
    server.refuses(&lasts, &[0x82], "a Session Expiry Interval").await;
}

async fn nothing_follows_disconnect(server: &Server) {
    let mut old = server.subscriber("a", "t").await;
    let mut writer = server.client("writer").await;
    let _new = server.client("a").await;
    writer.ask("t", b"", &Properties::none()).await;
    old.ping().await;
    let (first, body) = old.read_bytes().await.expect("it is told");
    assert_eq!((first, body[0]), (0xE0, 0x8E));
    assert!(!body[1..].contains(&property::SESSION_EXPIRY));
    assert_eq!(old.read_bytes().await, None);
}

async fn a_session_lasts_as_long_as_its_connection(server: &Server) {
    let mut a = server.subscriber("a", "t").await;
    let mut writer = server.client("writer").await;
    for _ in 0..3 {
        writer.ask("t", b"", &Properties::none()).await;
        a.message().await;
    }
    drop(a);
    // Nor when it asks for it: CONNECT had no Session Expiry Interval.
    let (mut a, present, ..) = server.connack(&Connect::new("a").resume()).await;
    assert!(!present);
    writer.ask("t", b"", &Properties::none()).await;
    assert_quiet(&mut a, "a subscription of before").await;
}
