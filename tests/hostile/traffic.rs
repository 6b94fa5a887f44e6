//! More than one client may send, and less than it must read.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_mqtt::hub::Change;

use super::raw::{Connect, Properties, Raw, packet, string};
use super::witness::{Steps, Witness, forever};
use super::{client, limited, soon};

/// A PUBLISH of MQTT 5 at QoS 0.
pub(super) fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&string(topic)[..], &[0], payload].concat())
}

/// Sends the same bytes as fast as they are taken, and reads what comes.
pub(super) async fn flood(address: SocketAddr, bytes: Vec<u8>, steps: Steps) {
    let stream = client(address, "flood").await.into_stream();
    let (mut read, mut write) = stream.into_split();
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        while read.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    };
    let writing = async {
        while write.write_all(&bytes).await.is_ok() {
            steps.step();
        }
    };
    tokio::join!(reading, writing);
}

pub(super) fn pings() -> Vec<u8> {
    [0xC0, 0].repeat(1000)
}

/// What nobody is subscribed to.
pub(super) fn messages() -> Vec<u8> {
    publish("nobody", b"").repeat(1000)
}

/// Each refused, as there are 1,024 already or the filter is not allowed.
pub(super) fn subscriptions() -> Vec<u8> {
    let one = [&string("clients/M7/responses")[..], &[1]].concat();
    packet(0x82, &[&[0, 1, 0][..], &one.repeat(40_000)].concat())
}

#[tokio::test]
async fn floods_of_pings_messages_and_subscriptions_leave_room_for_others() {
    for (bytes, steps) in [(pings(), 100), (messages(), 100), (subscriptions(), 10)] {
        let (_hub, address) = limited(|_| {}).await;
        let witness = Witness::new(address).await;
        witness.works_during(100, steps, |steps| flood(address, bytes, steps)).await;
    }
}

/// Publishes large messages to somebody who is subscribed and reads nothing.
pub(super) async fn deaf_subscriber(address: SocketAddr, steps: Steps) {
    let mut deaf = client(address, "deaf").await;
    assert_eq!(deaf.subscribe("loud/#", 0).await, 0);
    flood(address, publish("loud/1", &vec![0; 64 * 1024]), steps).await;
    drop(deaf);
}

#[tokio::test]
async fn who_is_deaf_to_a_flood_slows_nobody_else() {
    let (hub, address) = limited(|_| {}).await;
    let witness = Witness::new(address).await;
    witness.works_during(100, 300, |steps| deaf_subscriber(address, steps)).await;
    assert!(hub.stats().overflowed > 0);
}

/// Announces more than a packet may have, again and again.
pub(super) async fn oversized(address: SocketAddr, steps: Steps) {
    forever(&steps, async |_| {
        let mut raw = client(address, "large").await;
        // 1 MiB and a byte; what has come of it is not kept.
        raw.send(&[0x30, 0x81, 0x80, 0x40]).await;
        assert_eq!(raw.last_words().await, Some(0x95));
    })
    .await;
}

#[tokio::test]
async fn packets_too_large_end_one_connection_only() {
    let (_hub, address) = limited(|_| {}).await;
    let witness = Witness::new(address).await;
    witness.works_during(100, 50, |steps| oversized(address, steps)).await;
}

/// Who asks and does not read what it is told is not asked to send more, and closed in the end. It must
/// not be able to fill the hub's memory with answers.
#[tokio::test]
async fn who_asks_and_reads_nothing_is_stopped_and_closed() {
    // A PUBACK for each.
    let asked = |properties: &[u8], payload: &[u8]| {
        packet(0x32, &[&string("t")[..], &[0, 1], properties, payload].concat()).repeat(1000)
    };
    let small = [(5, pings()), (4, pings()), (5, asked(&[0], &[])), (4, asked(&[], &[]))];
    // Taken fast: what is not stopped at once is soon above the limit below.
    let large = [(5, asked(&[0], &[0; 1024])), (4, asked(&[], &[0; 1024]))];
    for (version, bytes) in small.into_iter().chain(large) {
        let patience = Duration::from_millis(800);
        let (hub, address) = limited(|limits| limits.stalled = patience).await;
        let witness = Witness::new(address).await;
        let (_, mut presence) = hub.presence();
        let connect = Connect::new("deaf").version(version);
        let mut deaf = Raw::connect_small(address, &connect).await;
        assert_eq!(deaf.subscribe("loud", 0).await, 0);
        // Fills the buffers of both ends, so that the answers have to wait.
        let mut sender = client(address, "sender").await;
        for _ in 0..200 {
            sender.publish(0x30, "loud", &vec![0; 64 * 1024], &Properties::none()).await;
        }
        sender.ping().await;
        sender.read().await;
        let mut stream = deaf.into_stream();
        let asking = async {
            let mut sent = 0_usize;
            while stream.write_all(&bytes).await.is_ok() {
                sent += bytes.len();
                // Of the buffers of both ends; what comes then is not taken any more.
                assert!(sent < 16 * 1024 * 1024, "the hub takes all that comes");
            }
            sent
        };
        let gone = async {
            loop {
                if let Some(Change::Disconnected(info)) = presence.next().await {
                    return info.client_id;
                }
            }
        };
        let (sent, who) = soon(async { tokio::join!(asking, gone) }).await;
        assert_eq!(&*who, "deaf");
        println!("MQTT {version}: {sent} bytes were taken of one that reads nothing");
        witness.call(0).await;
    }
}

/// Nobody else gets the messages of one who sends too much to a client that reads.
#[tokio::test]
async fn a_flood_that_somebody_reads_arrives_in_order_beside_the_calls_of_others() {
    let (_hub, address) = limited(|_| {}).await;
    let witness = Witness::new(address).await;
    let mut reader = client(address, "reader").await;
    assert_eq!(reader.subscribe("loud", 0).await, 0);
    let mut sender = client(address, "sender").await;
    let attack = async |steps: Steps| {
        for number in 0_u32.. {
            sender.publish(0x30, "loud", &number.to_be_bytes(), &Properties::none()).await;
            assert_eq!(reader.message().await.payload, number.to_be_bytes());
            steps.step();
        }
    };
    witness.works_during(100, 100, attack).await;
}
