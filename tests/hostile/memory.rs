//! What attackers leave in memory. Tests of one process share it, so each runs in a process of its own.

use std::process::Command;

use super::raw::Packet;
use super::resident::resident;
use super::witness::Witness;
use super::{client, limited, traffic};

const MIB: usize = 1024 * 1024;

/// Runs this test alone in a process of its own; `true`: this is that process.
fn alone(test: &str) -> bool {
    const ALONE: &str = "HOSTILE_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("it runs");
    let test = format!("memory::{test}");
    let status =
        Command::new(this).args(["--exact", &test, "--nocapture"]).env(ALONE, "1").status();
    assert!(status.expect("started").success());
    false
}

#[test]
fn a_million_topics_leave_nothing_behind() {
    if !alone("a_million_topics_leave_nothing_behind") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("built").block_on(async {
        let (_hub, address) = limited(|_| {}).await;
        let witness = Witness::new(address).await;
        let mut many = client(address, "many").await;
        let mut before = 0;
        for thousand in 0..1000 {
            // Half of them are topics whose messages the hub counts.
            let topic = |number: usize| match number % 2 {
                0 => format!("topics/{thousand}/{number}"),
                _ => format!("/ext/rrpc/{thousand}{number}/a/b"),
            };
            let all = (0..1000).flat_map(|number| traffic::publish(&topic(number), b""));
            many.send(&all.collect::<Vec<_>>()).await;
            many.ping().await;
            assert_eq!(many.read().await, Some(Packet::PingResp));
            witness.call(thousand).await;
            // The tables that are bounded are full then.
            if thousand == 100 {
                before = resident();
            }
        }
        let after = resident();
        eprintln!("{} MiB, then {} MiB", before / MIB, after / MIB);
        assert!(after < before + 4 * MIB, "{before}, then {after}");
    });
}
