//! No call is given another's answer: what nobody waits for, or what cannot be read, is dropped and
//! counted in the right place, and disturbs nobody.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::*;
use tower_mqtt::dialect::Message;
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::{Request, RequestError, Requester, Responder, Router};

fn router() -> Router {
    Router::new()
        .route("good", async || "good")
        .route("echo", async |request: Request| request.payload().clone())
}

/// A responder that spoils its answers on `bad`, and one that answers on `good` and `echo`.
async fn with_spoiled(response: fn(&mut Message)) -> (Network, Requester, [Responder; 2]) {
    let network = Network::new();
    let spoiler = Responder::builder(network.link("spoiler")).dialect(Altered::response(response));
    let spoiler = spoiler.serve(Router::new().route("bad", async || "bad")).await.unwrap();
    let good = Responder::builder(network.link("good")).serve(router()).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    (network, requester, [spoiler, good])
}

/// Calls `bad`, which must time out, and meanwhile `good`, which must not notice.
async fn calls_time_out_but_others_go_on(requester: &Requester) {
    let bad = start(requester, to("bad").timeout(SECOND)).await;
    assert_eq!(call(requester, to("good")).await.unwrap().payload(), "good");
    assert_eq!(bad.await.unwrap().unwrap_err(), RequestError::Timeout);
    assert_eq!(requester.stats().in_flight, 0);
    assert_eq!(requester.stats().answered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_counted_and_nobody_gets_it() {
    let (network, requester, _responder) = ask_and_answer(router()).await;
    network.on_message(|message| match &message.payload[..] {
        b"slow" if message.properties.response_topic.is_none() => {
            Fate::Delay(Duration::from_millis(900))
        }
        _ => Fate::Deliver,
    });
    let slow = call(&requester, Request::new("echo", "slow").unwrap().timeout(SECOND / 2));
    assert_eq!(slow.await.unwrap_err(), RequestError::Timeout);
    let other = start(&requester, Request::new("echo", "other").unwrap()).await;
    assert_eq!(other.await.unwrap().unwrap().payload(), "other");
    tokio::time::advance(SECOND).await;
    until("the late answer comes", || requester.stats().late == 1).await;
    assert_eq!(requester.stats().answered, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_call_that_was_given_up_is_late() {
    let (network, requester, _responder) = ask_and_answer(router()).await;
    network.on_message(|message| match message.properties.response_topic {
        None => Fate::Delay(SECOND),
        Some(_) => Fate::Deliver,
    });
    let given_up = start(&requester, to("good")).await;
    given_up.abort();
    settle().await;
    assert_eq!(requester.stats().in_flight, 0, "its slot is free at once");
    tokio::time::advance(SECOND).await;
    until("the late answer comes", || requester.stats().late == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_answer_is_a_duplicate() {
    let (network, requester, _responder) = ask_and_answer(router()).await;
    network.on_message(|message| match message.properties.response_topic {
        None => Fate::Repeat(3),
        Some(_) => Fate::Deliver,
    });
    assert_eq!(call(&requester, to("good")).await.unwrap().payload(), "good");
    until("both copies come", || requester.stats().duplicate == 2).await;
    assert_eq!(requester.stats().answered, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_an_unknown_correlation_data_is_dropped() {
    let (_network, requester, _responders) = with_spoiled(|message| {
        message.properties.correlation_data = Some("guess".into());
    })
    .await;
    calls_time_out_but_others_go_on(&requester).await;
    assert_eq!(requester.stats().unknown, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_correlation_data_is_malformed() {
    let (_network, requester, _responders) =
        with_spoiled(|message| message.properties.correlation_data = None).await;
    calls_time_out_but_others_go_on(&requester).await;
    assert_eq!(requester.stats().malformed, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_read_is_dropped_and_the_call_may_still_be_answered() {
    let (_network, requester, _responders) = with_spoiled(|message| {
        static FIRST: AtomicBool = AtomicBool::new(true);
        if FIRST.swap(false, Ordering::SeqCst) {
            message.properties.user.push("status", "splendid");
        }
    })
    .await;
    let id = b"the same";
    let first = start(&requester, to("bad").correlation_data(&id[..])).await;
    assert_eq!(requester.stats().malformed, 1);
    assert!(!first.is_finished());
    let second = call(&requester, to("bad").correlation_data(&id[..])).await.unwrap();
    assert_eq!(second.payload(), "bad");
    assert_eq!(first.await.unwrap().unwrap().payload(), "bad", "attempts share their answer");
    assert_eq!(requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_right_correlation_data_on_another_requesters_topic_is_foreign() {
    let network = Network::new();
    let spoiler = Responder::builder(network.link("spoiler"))
        .dialect(Altered::response(|message| message.topic = topic("clients/other/responses")));
    let _spoiler = spoiler.serve(Router::new().route("bad", async || "bad")).await.unwrap();
    let _good = Responder::builder(network.link("good")).serve(router()).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    let other = Requester::builder(network.link("other")).build().await.unwrap();
    calls_time_out_but_others_go_on(&requester).await;
    assert_eq!(other.stats().unknown, 1, "the one whose topic it is counts it");
    assert_eq!(requester.stats().unknown, 0);
}

#[tokio::test(start_paused = true)]
async fn the_right_correlation_data_on_a_neighbours_topic_is_foreign() {
    let network = Network::new();
    let spoiler = Responder::builder(network.link("spoiler"))
        .dialect(Altered::response(|message| message.topic = topic("clients/asker/responses/1")));
    let _spoiler = spoiler.serve(Router::new().route("bad", async || "bad")).await.unwrap();
    let _good = Responder::builder(network.link("good")).serve(router()).await.unwrap();
    let link = network.link("asker");
    let first = Requester::builder(link.clone()).build().await.unwrap();
    let second = Requester::builder(link).build().await.unwrap();
    calls_time_out_but_others_go_on(&first).await;
    assert_eq!((first.stats().unknown, second.stats().unknown), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn requests_sent_at_a_response_topic_are_counted() {
    let network = Network::new();
    let victim = Requester::builder(network.link("victim")).build().await.unwrap();
    let attacker = Requester::builder(network.link("attacker")).build().await.unwrap();
    for _ in 0..10 {
        let request = to("clients/victim/responses").timeout(Duration::from_millis(10));
        assert_eq!(call(&attacker, request).await.unwrap_err(), RequestError::Timeout);
    }
    assert_eq!(victim.stats().unknown, 10);
}

#[tokio::test(start_paused = true)]
async fn lost_repeated_and_reordered_messages_never_mix_answers_up() {
    let (network, requester, _responder) = ask_and_answer(router()).await;
    let mut turn = 0_u64;
    network.on_message(move |_| {
        turn += 1;
        match turn % 7 {
            0 => Fate::Lose,
            1 | 2 => Fate::Delay(Duration::from_millis(turn * 37 % 1500)),
            3 => Fate::Repeat(3),
            _ => Fate::Deliver,
        }
    });
    let calls = (0..1000).map(|n| {
        let request = Request::new("echo", n.to_string()).unwrap().timeout(SECOND);
        let call = call(&requester, request);
        tokio::spawn(async move {
            match call.await {
                Ok(response) => assert_eq!(response.payload(), &n.to_string()),
                Err(error) => assert_eq!(error, RequestError::Timeout),
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    tokio::time::advance(2 * SECOND).await;
    until("late answers come", || requester.stats().late > 0).await;
    let stats = requester.stats();
    assert_eq!((stats.in_flight, stats.malformed), (0, 0));
    assert!(stats.answered > 500 && stats.duplicate > 0, "{stats:?}");
}
