//! Packets with something wrong in them, thousands of them: none may make the hub panic, hang or
//! forget somebody else. A program of its own, because it counts panics.
#![cfg(feature = "ntex")]

#[path = "support/raw.rs"]
mod raw;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::sync::Mutex;
use tower_mqtt::Hub;

use self::raw::{Connect, Packet, Properties, Raw, packet, property, string};

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens soon")
}

/// One well-formed packet of each kind that a client sends.
fn packets(version: u8) -> Vec<Vec<u8>> {
    let none: &[u8] = if version == 5 { &[0] } else { &[] };
    let properties = if version == 5 {
        let all = [&[property::RESPONSE_TOPIC][..], &string("a/b"), &[property::USER_PROPERTY]];
        let all = [&all.concat()[..], &string("name"), &string("value")].concat();
        [&[u8::try_from(all.len()).expect("short")][..], &all].concat()
    } else {
        Vec::new()
    };
    vec![
        Connect::new("client").version(version).will("gone", "w", 1, false).bytes(),
        packet(0x30, &[&string("t")[..], &properties, b"payload"].concat()),
        packet(0x32, &[&string("t")[..], &[0, 7], &properties, b"payload"].concat()),
        packet(0x82, &[&[0, 8][..], none, &string("$share/g/a/+"), &[1]].concat()),
        packet(0xA2, &[&[0, 9][..], none, &string("a/#")].concat()),
        packet(0x40, &[0, 1]),
        packet(0x50, &[0, 1]),
        packet(0x62, &[0, 1]),
        packet(0x70, &[0, 1]),
        packet(0xC0, &[]),
        packet(0xF0, &[0x18, 0]),
        packet(0xE0, &[]),
    ]
}

/// What is done to a stream of packets: a byte is changed, put in or taken out, or the rest is cut.
#[derive(Debug, Clone)]
enum Damage {
    Change(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Change(at, byte)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        place().prop_map(Damage::Remove),
        place().prop_map(Damage::Cut),
    ]
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let place = |at: &prop::sample::Index| at.index(bytes.len());
    match damage {
        Damage::Change(at, byte) => {
            let at = place(at);
            bytes[at] = *byte;
        }
        Damage::Insert(at, byte) => bytes.insert(place(at), *byte),
        Damage::Remove(at) => drop(bytes.remove(place(at))),
        Damage::Cut(at) => bytes.truncate(place(at)),
    }
}

/// Whether the handshake comes first unharmed, what follows, and what is done to it.
fn stream() -> impl Strategy<Value = (u8, bool, Vec<u8>)> {
    let version = prop_oneof![Just(5_u8), Just(4_u8)];
    let order = prop::collection::vec(any::<prop::sample::Index>(), 1..6);
    let damages = prop::collection::vec(damage(), 1..4);
    (version, any::<bool>(), order, damages).prop_map(|(version, handshake, order, damages)| {
        let packets = packets(version);
        let chosen = order.iter().map(|index| index.get(&packets).clone());
        let mut bytes: Vec<u8> = chosen.flatten().collect();
        for damage in &damages {
            apply(damage, &mut bytes);
        }
        (version, handshake, bytes)
    })
}

#[test]
fn damaged_packets_cost_their_own_connection_at_most() {
    let panics = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&panics);
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        seen.fetch_add(1, Ordering::Relaxed);
        default(info);
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tokio");
    let hub = Hub::builder().bind("127.0.0.1:0").workers(2);
    let hub = hub.limits(|limits| limits.handshake = Duration::from_secs(1));
    let hub = runtime.block_on(hub.start()).expect("started");
    let address = hub.local_addr().expect("bound");
    let witness = runtime.block_on(Raw::connect(address, &Connect::new("witness")));
    let witness = Mutex::new(witness);

    let mut runner =
        TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&stream(), |(version, handshake, bytes)| {
        runtime.block_on(async {
            let mut raw = if handshake {
                Raw::connect(address, &Connect::new("client").version(version)).await
            } else {
                Raw::open(address).await
            };
            raw.send(&bytes).await;
            let mut witness = witness.lock().await;
            witness.ping().await;
            assert_eq!(witness.read().await, Some(Packet::PingResp));
        });
        prop_assert_eq!(panics.load(Ordering::Relaxed), 0);
        Ok(())
    });
    outcome.expect("no damage does harm");

    runtime.block_on(soon(async {
        while hub.stats().connections > 1 {
            tokio::task::yield_now().await;
        }
    }));
    let mut witness = witness.into_inner();
    // Nobody has left a subscription behind.
    for topic in ["t", "a", "a/b", "gone"] {
        let reason = runtime.block_on(witness.ask(topic, b"", &Properties::none()));
        assert_eq!(reason, 0x10, "{topic}");
    }
    runtime.block_on(soon(hub.shutdown(Duration::from_secs(5))));
    assert_eq!(panics.load(Ordering::Relaxed), 0);
}
