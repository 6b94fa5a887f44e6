//! Connections that are no use: slow ones, many of them, and those of others.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::raw::{Connect, Packet, Raw};
use super::witness::{Steps, Witness, forever};
use super::{client, limited, soon, start};
use tower_mqtt::Hub;

/// Sends CONNECT byte by byte and never its last; returns when the server has had enough.
async fn drip(address: SocketAddr, version: u8, pause: Duration) {
    let connect = Connect::new(&"slow".repeat(500)).version(version).bytes();
    let mut stream = Raw::open(address).await.into_stream();
    let (mut read, mut write) = stream.split();
    let drops = async {
        for byte in &connect[..connect.len() - 1] {
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = drops => {}
        end = read.read_u8() => assert!(end.is_err(), "{end:?}"),
    }
}

/// Many at once, each in the place of one that was closed.
pub(super) async fn slow_connects(address: SocketAddr, steps: Steps) {
    let one = async |number: usize| {
        forever(&steps, |_| drip(address, [4, 5][number % 2], Duration::from_millis(5))).await;
    };
    join_all((0..100).map(one)).await;
}

#[tokio::test]
async fn slow_connects_are_closed_and_others_connect() {
    let handshake = Duration::from_millis(500);
    let (hub, address) = limited(|limits| limits.handshake = handshake).await;
    let witness = Witness::new(address).await;
    // Every byte is in time; the packet is not.
    witness.works_during(200, 300, |steps| slow_connects(address, steps)).await;
    client(address, "next").await.ping().await;
    drop(hub);
}

/// More connections than there may be, which say nothing.
pub(super) async fn silent_connections(address: SocketAddr, steps: Steps) {
    let one = async |_| {
        forever(&steps, async |_| {
            // Beyond the limit it is closed; before, it is held for a while.
            let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return };
            let end = stream.read_u8();
            let _ = tokio::time::timeout(Duration::from_millis(200), end).await;
        })
        .await;
    };
    join_all((0..400).map(one)).await;
}

#[tokio::test]
async fn a_flood_of_connections_leaves_those_who_are_there_alone() {
    let (hub, address) = limited(|limits| limits.connections = 3).await;
    let witness = Witness::new(address).await;
    let (refused, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let flood = async |steps: Steps| {
        let polite = forever(&steps, async |number| {
            let connect = Connect::new(&format!("one too many {number}"));
            let mut raw = Raw::open(address).await;
            raw.send(&connect.bytes()).await;
            // Refused, or closed at once as too many are being refused.
            match raw.read().await {
                None => {}
                Some(answer) => {
                    assert!(matches!(answer, Packet::ConnAck { reason: 0x97, .. }), "{answer:?}");
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            // While the silent ones hold theirs.
            let stats = hub.stats();
            assert!(stats.connections <= 3 + 256, "{stats:?}");
            most.fetch_max(stats.connections, Ordering::Relaxed);
        });
        let third = client(address, "third").await;
        tokio::join!(silent_connections(address, Steps::default()), polite);
        drop(third);
    };
    witness.works_during(200, 100, flood).await;
    let (refused, most) = (refused.into_inner(), most.into_inner());
    println!("{most} connections, {refused} refused");
    assert!(refused > 0, "nobody is told");
    assert!(most > 3, "it is no flood");
}

/// The same client identifier from many sockets.
pub(super) async fn takeovers(address: SocketAddr, steps: Steps) {
    let one = async |_| {
        forever(&steps, async |_| {
            let (mut raw, answer) = Raw::try_connect(address, &Connect::new("popular")).await;
            let Packet::ConnAck { reason, .. } = answer else { panic!("{answer:?}") };
            match reason {
                // Until the next comes.
                0 => assert!(matches!(raw.last_words().await, Some(0x8E))),
                other => assert_eq!(other, 0x89, "another was quicker"),
            }
        })
        .await;
    };
    join_all((0..16).map(one)).await;
}

#[tokio::test]
async fn a_storm_of_takeovers_takes_over_one_client_only() {
    for workers in [1, 2] {
        let (hub, address) = start(Hub::builder().workers(workers)).await;
        let witness = Witness::new(address).await;
        witness.works_during(200, 200, |steps| takeovers(address, steps)).await;
        let (_, mut presence) = hub.presence();
        let others =
            || hub.presence().0.iter().filter(|info| &*info.client_id != "popular").count();
        assert_eq!(others(), 2);
        // All have gone with the storm.
        while hub.presence().0.len() > 2 {
            soon(presence.next()).await;
        }
    }
}

/// What follows a CONNECT: another one, and what is no packet.
pub(super) async fn misbehaviour(address: SocketAddr, steps: Steps) {
    forever(&steps, async |number| {
        let (bytes, reason) = match number % 3 {
            0 => (Connect::new("twice").bytes(), 0x82),
            1 => (vec![0xFF; 64], 0x81),
            _ => (vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], 0x81),
        };
        let mut raw = client(address, "rude").await;
        raw.send(&bytes).await;
        assert_eq!(raw.last_words().await, Some(reason), "{number}");
    })
    .await;
}

#[tokio::test]
async fn connect_twice_and_garbage_after_it_end_one_connection_only() {
    let (_hub, address) = start(Hub::builder()).await;
    let witness = Witness::new(address).await;
    witness.works_during(200, 60, |steps| misbehaviour(address, steps)).await;
}
