//! CONNECT and CONNACK.

use std::time::{Duration, Instant};

use tower_mqtt::Hub;
use tower_mqtt::core::packet::ReasonCode;
use tower_mqtt::hub::Identity;

use super::raw::{Connect, Packet, Properties, Raw, property};
use super::{client, hub};

/// Authentication Data (MQTT 5 §3.1.2.11.10).
const AUTH_DATA: u8 = 0x16;

async fn connack(address: std::net::SocketAddr, connect: Connect) -> (u8, Properties) {
    match Raw::try_connect(address, &connect).await.1 {
        Packet::ConnAck { reason, properties, session_present: false } => (reason, properties),
        other => panic!("no CONNACK but {other:?}"),
    }
}

#[tokio::test]
async fn connack_says_what_the_hub_has() {
    let (_hub, address) = hub(1).await;
    let (reason, properties) = connack(address, Connect::new("a")).await;
    assert_eq!(reason, 0);
    let numbers = |id| properties.find_number(id);
    assert_eq!(numbers(property::RETAIN_AVAILABLE), Some(0));
    assert_eq!(numbers(property::MAXIMUM_QOS), Some(1));
    assert_eq!(numbers(property::RECEIVE_MAXIMUM), Some(1024));
    assert_eq!(numbers(property::MAXIMUM_PACKET_SIZE), Some(1024 * 1024));
    assert_eq!(numbers(property::SUBSCRIPTION_IDENTIFIERS_AVAILABLE), Some(0));
    assert_eq!(properties.find(property::RESPONSE_INFORMATION), None);
    assert_eq!(properties.find(property::ASSIGNED_CLIENT_ID), None);
}

#[tokio::test]
async fn response_information_is_for_those_who_ask() {
    let (_hub, address) = hub(1).await;
    let ask = Properties::none().number(property::REQUEST_RESPONSE_INFORMATION, 1);
    let (_, properties) = connack(address, Connect::new("M/7").properties(ask)).await;
    let topic = properties.find_text(property::RESPONSE_INFORMATION);
    assert_eq!(topic.as_deref(), Some("clients/M%2F7/responses"));
}

#[tokio::test]
async fn a_client_without_an_identifier_gets_one() {
    let (hub, address) = hub(1).await;
    let (first, _) = Raw::try_connect(address, &Connect::new("")).await;
    let (_, properties) = connack(address, Connect::new("")).await;
    let assigned = properties.find_text(property::ASSIGNED_CLIENT_ID).expect("assigned");
    assert!(!assigned.is_empty());
    let (present, _) = hub.presence();
    assert!(present.iter().all(|info| *info.client_id != *assigned || present.len() == 2));
    drop(first);
}

#[tokio::test]
async fn no_session_outlives_its_connection_and_connack_says_so() {
    let (_hub, address) = hub(1).await;
    let keep = Properties::none().number(property::SESSION_EXPIRY, 100);
    let (_, properties) = connack(address, Connect::new("a").properties(keep)).await;
    assert_eq!(properties.find_number(property::SESSION_EXPIRY), Some(0));
}

#[tokio::test]
async fn what_the_hub_does_not_have_is_refused_in_connack() {
    let (_hub, address) = hub(1).await;
    let with_method = Properties::none().text(property::AUTH_METHOD, "SCRAM");
    for (connect, expected) in [
        (Connect::new("a").properties(with_method), 0x8C),
        (Connect::new("a").will("gone", "a", 1, true), 0x9A),
        (Connect::new("a").will("gone", "a", 2, false), 0x9B),
        (Connect::new("a").will("gone/+", "a", 1, false), 0x90),
        (Connect::new("a").properties(Properties::none().text(AUTH_DATA, "a")), 0x82),
        (Connect::new("a\0b"), 0x85),
        (Connect::new("a\nb"), 0x85),
    ] {
        assert_eq!(connack(address, connect).await.0, expected);
    }
}

#[tokio::test]
async fn the_authentication_hook_decides_and_names_the_client() {
    let hub = Hub::builder().bind("127.0.0.1:0").authenticate(async |credentials| {
        tokio::task::yield_now().await;
        match (credentials.username.as_deref(), credentials.password.as_deref()) {
            (Some("anna"), Some(b"secret")) => Ok(Identity::new("the cook")),
            (Some("banned"), _) => Err(ReasonCode::BANNED),
            (Some("other"), _) => Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID),
            _ => Err(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
        }
    });
    let hub = hub.start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    for (user, password, version, expected) in [
        ("anna", "wrong", 5, 0x86),
        ("banned", "", 5, 0x8A),
        // [MQTT-3.1.3-8]
        ("other", "", 5, 0x85),
        ("other", "", 4, 2),
        ("anna", "wrong", 4, 4),
        ("banned", "", 4, 5),
        ("anna", "secret", 4, 0),
    ] {
        let connect = Connect::new("a").version(version).credentials(user, password);
        let (mut raw, packet) = Raw::try_connect(address, &connect).await;
        let said = matches!(packet, Packet::ConnAck { reason, .. } if reason == expected);
        assert!(said, "{user} {password} {version}: {packet:?}");
        if expected != 0 {
            // [MQTT-3.1.4-2]
            assert_eq!(raw.read().await, None, "{user} {password} {version}");
        }
    }
    assert_eq!(connack(address, Connect::new("a")).await.0, 0x86);
    let good = Connect::new("good").credentials("anna", "secret");
    let _good = Raw::connect(address, &good).await;
    let (present, _) = hub.presence();
    let info = present.iter().find(|info| &*info.client_id == "good").expect("present");
    assert_eq!(info.identity.as_str(), "the cook");
}

#[tokio::test]
async fn a_hook_that_does_not_decide_is_given_up() {
    let hub = Hub::builder()
        .bind("127.0.0.1:0")
        .limits(|limits| limits.handshake = Duration::from_millis(50))
        .authenticate(|_| std::future::pending());
    let hub = hub.start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    assert_eq!(connack(address, Connect::new("a")).await.0, 0x89);
}

#[tokio::test]
async fn a_connection_too_many_is_refused_and_the_next_place_is_for_the_next() {
    let hub = Hub::builder().bind("127.0.0.1:0").limits(|limits| limits.connections = 1);
    let hub = hub.start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    let first = client(address, "first").await;
    assert_eq!(connack(address, Connect::new("second")).await.0, 0x97);
    assert_eq!(connack(address, Connect::new("second").version(4)).await.0, 3);
    // One that connects again takes its own place.
    let again = client(address, "first").await;
    let (_, mut presence) = hub.presence();
    drop((first, again));
    super::soon(presence.next()).await.expect("the hub runs");
    let _second = client(address, "second").await;
}

#[tokio::test]
async fn a_connect_that_does_not_come_is_not_waited_for() {
    let hub = Hub::builder().bind("127.0.0.1:0");
    let hub = hub.limits(|limits| limits.handshake = Duration::from_secs(1));
    let hub = hub.start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    let connect = Connect::new("slow").bytes();
    // Nothing, a few bytes, and all but the end.
    for part in [0, 3, connect.len() - 1] {
        let started = Instant::now();
        let mut slow = Raw::open(address).await;
        slow.send(&connect[..part]).await;
        assert_eq!(slow.read().await, None);
        assert!(started.elapsed() >= Duration::from_millis(500), "{part}");
    }
}

#[tokio::test]
async fn connections_that_say_nothing_are_limited_as_well() {
    let hub = Hub::builder().bind("127.0.0.1:0").limits(|limits| limits.connections = 1);
    let hub = hub.start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    let mut silent = Vec::new();
    for _ in 0..257 {
        silent.push(Raw::open(address).await);
    }
    let started = Instant::now();
    assert_eq!(Raw::open(address).await.read().await, None);
    // At once, and not after the time for a handshake.
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(hub.stats().connections, 257);
}

#[tokio::test]
async fn what_is_not_mqtt_is_closed() {
    let hub = Hub::builder().bind("127.0.0.1:0");
    let hub = hub.limits(|limits| limits.handshake = Duration::from_hours(1));
    let hub = hub.start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    let unknown_version = Connect::new("a").version(6).bytes();
    let publish_first = super::raw::packet(0x30, &super::raw::string("topic"));
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xFF; 64],
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0, 0, 0, 0],
        &[0x10, 0],
        &[0x10, 0, 0x3A, 0, 0x51],
        &[0x10, 0, 0, 4, b'M', b'Q', b'T', b'T'],
        &[0x10, 3, 0, 0, 4],
        &[0x10, 6, 0, 4, b'M', b'Q', b'T', b'T'],
        &publish_first,
        &unknown_version,
    ] {
        let mut raw = Raw::open(address).await;
        raw.send(bytes).await;
        while raw.read().await.is_some() {}
    }
    client(address, "a").await;
}
