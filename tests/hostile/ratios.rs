//! What each attack costs others: calls of the witness with the attacker, and without.
//!
//! ```text
//! cargo test --release --all-features --test hostile -- --ignored --nocapture ratios
//! ```

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tower_mqtt::Hub;

use super::witness::{Steps, Witness};
use super::{connecting, impostors, start, topics, traffic};

/// Windows of each kind, in turn, so that both see the same machine.
const ROUNDS: usize = 5;

/// How long a window is.
const WINDOW: Duration = Duration::from_millis(500);

/// More often than this nobody's calls may end without an attacker than with him; the documentation says so.
const MOST: f64 = 200.0;

/// Calls that the witness has in flight.
const IN_FLIGHT: [usize; 2] = [1, 32];

type Attack = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What it is called, and how it begins.
type Named = (&'static str, fn(SocketAddr) -> Attack);

fn attacks() -> Vec<Named> {
    vec![
        ("100 slow CONNECTs", |a| Box::pin(connecting::slow_connects(a, Steps::default()))),
        ("400 silent connections", |a| {
            Box::pin(connecting::silent_connections(a, Steps::default()))
        }),
        ("16 takeovers at once", |a| Box::pin(connecting::takeovers(a, Steps::default()))),
        ("garbage", |a| Box::pin(connecting::misbehaviour(a, Steps::default()))),
        ("ping flood", |a| Box::pin(traffic::flood(a, traffic::pings(), Steps::default()))),
        ("message flood", |a| Box::pin(traffic::flood(a, traffic::messages(), Steps::default()))),
        ("SUBSCRIBE flood", |a| {
            Box::pin(traffic::flood(a, traffic::subscriptions(), Steps::default()))
        }),
        ("deaf subscriber", |a| Box::pin(traffic::deaf_subscriber(a, Steps::default()))),
        ("oversized packets", |a| Box::pin(traffic::oversized(a, Steps::default()))),
        ("wildcard storm", |a| Box::pin(topics::wildcard_storm(a, Steps::default()))),
        ("forged answers", |a| Box::pin(impostors::forger(a, Steps::default()))),
    ]
}

/// Calls that end in one window, and how long the longest took.
async fn calls(witness: &Witness, in_flight: usize) -> (usize, Duration) {
    let until = Instant::now() + WINDOW;
    let one = async |_| {
        let (mut calls, mut longest) = (0, Duration::ZERO);
        while Instant::now() < until {
            let started = Instant::now();
            witness.call(calls).await;
            longest = longest.max(started.elapsed());
            calls += 1;
        }
        (calls, longest)
    };
    let all = futures_util::future::join_all((0..in_flight).map(one)).await;
    all.into_iter()
        .fold((0, Duration::ZERO), |sum, (calls, longest)| (sum.0 + calls, sum.1.max(longest)))
}

#[ignore = "it measures, and takes a minute"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ratios_of_calls_with_and_without_the_attacker() {
    let mut worst: f64 = 0.0;
    println!("| attack | calls in flight | without | with | without / with | longest call |");
    println!("|---|---|---|---|---|---|");
    for (name, attack) in attacks() {
        for in_flight in IN_FLIGHT {
            let (_hub, address) = start(Hub::builder()).await;
            let witness = Witness::new(address).await;
            let (mut without, mut with, mut longest) = (0, 0, Duration::ZERO);
            for _ in 0..ROUNDS {
                without += calls(&witness, in_flight).await.0;
                let attacker = tokio::spawn(attack(address));
                tokio::time::sleep(WINDOW / 5).await;
                let (count, took) = calls(&witness, in_flight).await;
                assert!(!attacker.is_finished(), "{name}");
                attacker.abort();
                let _ = attacker.await;
                with += count;
                longest = longest.max(took);
                tokio::time::sleep(WINDOW / 5).await;
            }
            let seconds = WINDOW.as_secs_f64() * f64::from(u32::try_from(ROUNDS).expect("few"));
            let rate = |calls: usize| f64::from(u32::try_from(calls).expect("few")) / seconds;
            worst = worst.max(rate(without) / rate(with));
            println!(
                "| {name} | {in_flight} | {:.0}/s | {:.0}/s | {:.1} | {longest:.1?} |",
                rate(without),
                rate(with),
                rate(without) / rate(with),
            );
        }
    }
    assert!(worst < MOST, "{worst}");
}
