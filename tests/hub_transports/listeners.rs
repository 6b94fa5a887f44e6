//! What holds for one listener and not for another.

use std::time::{Duration, Instant};

use tower_mqtt::Hub;
use tower_mqtt::core::packet::ReasonCode;
use tower_mqtt::hub::{HubBuilder, Identity, Listener};

use super::programs::soon;
use super::raw::{Connect, Packet, Properties, Raw, property};

async fn start(listeners: [Listener; 2]) -> Hub {
    let hub = listeners.into_iter().fold(Hub::builder(), HubBuilder::listen);
    hub.start().await.expect("started")
}

fn tcp() -> Listener {
    Listener::tcp("127.0.0.1:0")
}

async fn connack(hub: &Hub, listener: usize, connect: Connect) -> (u8, Properties) {
    match Raw::try_connect(hub.local_addrs()[listener], &connect).await.1 {
        Packet::ConnAck { reason, properties, .. } => (reason, properties),
        other => panic!("no CONNACK but {other:?}"),
    }
}

#[tokio::test]
async fn a_listener_may_have_a_hook_of_its_own() {
    let guests = tcp().authenticate(async |_| Ok(Identity::new("guest")));
    let hub = Hub::builder()
        .authenticate(async |_| Err(ReasonCode::BAD_USER_NAME_OR_PASSWORD))
        .listen(tcp())
        .listen(guests);
    let hub = hub.start().await.expect("started");
    assert_eq!(connack(&hub, 0, Connect::new("a")).await.0, 0x86);
    let guest = Raw::connect(hub.local_addrs()[1], &Connect::new("a")).await;
    let (present, _) = hub.presence();
    assert_eq!(present[0].identity.as_str(), "guest");
    assert!(present[0].identity.is_verified());
    drop(guest);
}

#[tokio::test]
async fn a_client_that_only_claims_its_name_is_known_as_such() {
    let hook = async |_| Ok(Identity::new("anna"));
    let hub = start([tcp().authenticate(hook), tcp()]).await;
    let mut verified = Raw::connect(hub.local_addrs()[0], &Connect::new("verified")).await;
    let mut claimed = Raw::connect(hub.local_addrs()[1], &Connect::new("anna")).await;
    let mut watcher = Raw::connect(hub.local_addrs()[1], &Connect::new("watcher")).await;
    assert_eq!(watcher.subscribe("t", 1).await, 1);
    for (client, expected) in [(&mut verified, Some("anna")), (&mut claimed, None)] {
        let forged = Properties::none().pair("hub-identity", "anna");
        client.publish(0x30, "t", b"", &forged).await;
        let message = watcher.message().await;
        assert_eq!(message.properties.user("hub-identity").as_deref(), expected);
    }
}

#[tokio::test]
async fn a_listener_that_is_full_leaves_room_at_the_others() {
    let hub = start([tcp().limits(|limits| limits.connections = Some(1)), tcp()]).await;
    let (_, mut presence) = hub.presence();
    let first = Raw::connect(hub.local_addrs()[0], &Connect::new("first")).await;
    soon(presence.next()).await.expect("the hub runs");
    assert_eq!(connack(&hub, 0, Connect::new("second")).await.0, 0x97);
    let _elsewhere = Raw::connect(hub.local_addrs()[1], &Connect::new("second")).await;
    soon(presence.next()).await.expect("the hub runs");
    drop(first);
    soon(presence.next()).await.expect("the hub runs");
    let _third = Raw::connect(hub.local_addrs()[0], &Connect::new("third")).await;
}

#[tokio::test]
async fn those_who_say_nothing_at_one_listener_leave_room_at_the_others() {
    let hub = start([tcp().limits(|limits| limits.connections = Some(1)), tcp()]).await;
    let mut silent = Vec::new();
    for _ in 0..257 {
        silent.push(Raw::open(hub.local_addrs()[0]).await);
    }
    assert_eq!(Raw::open(hub.local_addrs()[0]).await.read().await, None);
    Raw::connect(hub.local_addrs()[1], &Connect::new("a")).await;
}

#[tokio::test]
async fn the_hubs_limit_counts_the_clients_of_all_listeners() {
    let hub = Hub::builder().listen(tcp()).listen(tcp()).limits(|limits| limits.connections = 1);
    let hub = hub.start().await.expect("started");
    let _first = Raw::connect(hub.local_addrs()[0], &Connect::new("first")).await;
    assert_eq!(connack(&hub, 1, Connect::new("second")).await.0, 0x97);
}

#[tokio::test]
async fn packets_have_the_limit_of_their_listener() {
    let hub = start([tcp().limits(|limits| limits.packet = Some(1000)), tcp()]).await;
    for (listener, expected) in [(0, 1000), (1, 1024 * 1024)] {
        let (_, properties) = connack(&hub, listener, Connect::new("a")).await;
        assert_eq!(properties.find_number(property::MAXIMUM_PACKET_SIZE), Some(expected));
    }
    let mut limited = Raw::connect(hub.local_addrs()[0], &Connect::new("limited")).await;
    limited.publish(0x30, "t", &[0; 1000], &Properties::none()).await;
    assert_eq!(limited.read().await, Some(Packet::Disconnect { reason: 0x95 }));
    let mut other = Raw::connect(hub.local_addrs()[1], &Connect::new("other")).await;
    assert_eq!(other.ask("t", &[0; 1000], &Properties::none()).await, 0x10);
}

#[tokio::test]
async fn a_handshake_has_the_time_of_its_listener() {
    let short = tcp().limits(|limits| limits.handshake = Some(Duration::from_secs(1)));
    let hub = start([short, tcp()]).await;
    let mut patient = Raw::open(hub.local_addrs()[1]).await;
    let started = Instant::now();
    assert_eq!(Raw::open(hub.local_addrs()[0]).await.read().await, None);
    assert!(started.elapsed() >= Duration::from_millis(500));
    patient.send(&Connect::new("a").bytes()).await;
    assert!(matches!(patient.read().await, Some(Packet::ConnAck { reason: 0, .. })));
}

#[tokio::test]
async fn an_option_of_another_transport_is_an_error() {
    let address = "127.0.0.1:0";
    for (listener, expected) in [
        (Listener::tcp(address).path("/mqtt"), "only a WebSocket has a path"),
        (Listener::ws(address).mode(0o666), "only a Unix socket has a mode"),
        (Listener::ws(address).path("mqtt"), "a path begins with /"),
        (Listener::tcp("nowhere"), "nowhere"),
    ] {
        let error = Hub::builder().listen(listener).start().await.expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
