//! Filters and topics: as many as there may be, and as bad as they can be.

use std::net::SocketAddr;

use super::raw::{Packet, packet, string};
use super::witness::{Steps, Witness};
use super::{client, limited, traffic};

/// Levels of the worst filters, as many as there may be.
const LEVELS: usize = 128;

/// How many of them a client may have.
const MOST: usize = 256 * 1024 / (LEVELS * 2 - 1 + LEVELS * 32);

/// As many filters as possible that all match one topic and have few levels in common.
fn overlapping() -> Vec<String> {
    let filter = |number: usize| {
        let level = |place: usize| if number >> (place % 6) & 1 == 1 { "+" } else { "a" };
        (0..LEVELS).map(level).collect::<Vec<_>>().join("/")
    };
    (0..=MOST).map(filter).collect()
}

/// Subscribes to all of them and publishes to the topic that they match.
pub(super) async fn wildcard_storm(address: SocketAddr, steps: Steps) {
    let mut many = client(address, "many").await;
    for (number, filter) in overlapping().iter().enumerate() {
        let expected = if number < MOST { 0 } else { 0x97 };
        many.send_subscribe(filter, 0).await;
        // Behind what an earlier storm has left.
        let reasons = loop {
            match many.read().await {
                Some(Packet::SubAck { reasons }) => break reasons,
                Some(Packet::Publish(_)) => {}
                other => panic!("no SUBACK but {other:?}"),
            }
        };
        assert_eq!(reasons, [expected]);
    }
    let topic = vec!["a"; LEVELS].join("/");
    let bytes = traffic::publish(&topic, b"").repeat(100);
    tokio::join!(traffic::flood(address, bytes, steps), async {
        while many.read().await.is_some() {}
    });
}

#[tokio::test]
async fn a_storm_of_wildcards_is_one_message_for_each_client_and_leaves_room() {
    let (hub, address) = limited(|_| {}).await;
    let witness = Witness::new(address).await;
    witness.works_during(20, 1, |steps| wildcard_storm(address, steps)).await;
    assert!(hub.stats().forwarded > 0);
    let mut many = client(address, "few").await;
    for filter in ["few/+", "+/b", "few/#", "few/b"] {
        assert_eq!(many.subscribe(filter, 0).await, 0);
    }
    let mut sender = client(address, "sender").await;
    sender.send(&traffic::publish("few/b", b"one")).await;
    sender.send(&traffic::publish("few/c", b"two")).await;
    assert_eq!(many.message().await.payload, b"one");
    assert_eq!(many.message().await.payload, b"two", "one copy of each");
}

#[tokio::test]
async fn a_flood_of_subscriptions_is_refused_beyond_the_limit() {
    let (_hub, address) = limited(|_| {}).await;
    let witness = Witness::new(address).await;
    let mut greedy = client(address, "greedy").await;
    let mut attack = async |steps: Steps| {
        for round in 0_usize.. {
            let filters: Vec<u8> = (0..500)
                .flat_map(|number| [&string(&format!("{round}/{number}"))[..], &[0]].concat())
                .collect();
            greedy.send(&packet(0x82, &[&[0, 1, 0][..], &filters].concat())).await;
            let Some(Packet::SubAck { reasons }) = greedy.read().await else { panic!("no SUBACK") };
            let granted = reasons.iter().filter(|reason| **reason < 0x80).count();
            assert_eq!(granted, [500, 500, 24].get(round).copied().unwrap_or(0));
            assert!(reasons[granted..].iter().all(|reason| *reason == 0x97));
            steps.step();
        }
    };
    witness.works_during(100, 20, &mut attack).await;
}
