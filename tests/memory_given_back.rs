//! A hundred thousand timeouts and as many dropped futures leave every table empty, and the memory
//! of the process where it was. Alone in its binary, so that nothing else takes memory meanwhile.
#![cfg(target_os = "linux")]

#[path = "support/resident.rs"]
mod resident;
mod support;

use std::time::Duration;

use resident::resident;
use support::*;
use tower_mqtt::link::memory::Fate;
use tower_mqtt::{RequestError, Requester, Router};

const TIMES: usize = 100_000;
const AT_ONCE: usize = 1000;
/// What an allocator may keep. An entry that stays behind for each call would take more than twice
/// as much: 200,000 times at least 100 bytes.
const SLACK: usize = 8 * 1024 * 1024;

async fn time_out(requester: &Requester, times: usize) {
    for _ in 0..times / AT_ONCE {
        let request = to("lost").timeout(Duration::from_millis(1));
        let calls = (0..AT_ONCE).map(|_| tokio::spawn(call(requester, request.clone())));
        for call in calls.collect::<Vec<_>>() {
            assert_eq!(call.await.unwrap().unwrap_err(), RequestError::Timeout);
        }
    }
}

async fn give_up(requester: &Requester, times: usize) {
    for _ in 0..times / AT_ONCE {
        let calls: Vec<_> =
            (0..AT_ONCE).map(|_| tokio::spawn(call(requester, to("lost")))).collect();
        until("all are in flight", || requester.stats().in_flight == AT_ONCE).await;
        tokio::task::yield_now().await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        until("their slots are free", || requester.stats().in_flight == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts_and_dropped_futures_leave_nothing_behind() {
    let router = Router::new().route("lost", async || ()).route("here", async || "here");
    let (network, requester, responder) = ask_and_answer(router).await;
    network.on_message(|message| match message.topic.as_str() {
        "lost" => Fate::Lose,
        _ => Fate::Deliver,
    });
    time_out(&requester, TIMES / 10).await;
    give_up(&requester, TIMES / 10).await;
    let before = resident();

    time_out(&requester, TIMES).await;
    give_up(&requester, TIMES).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < SLACK, "{grown} bytes more than before");
    assert_eq!((requester.stats().in_flight, responder.stats().in_flight), (0, 0));
    assert_eq!(call(&requester, to("here")).await.unwrap().payload(), "here");
}
