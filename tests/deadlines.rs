//! One deadline from end to end, and what happens when it passes.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::*;
use tokio::sync::mpsc;
use tower_mqtt::core::packet::Qos;
use tower_mqtt::link::memory::{self, Fate, Network};
use tower_mqtt::responder::extract::{Deadline, State};
use tower_mqtt::{
    Cancellation, Delivery, InvalidRequest, RequestError, Requester, Responder, Router, ServeError,
    current_deadline,
};

const MS: Duration = Duration::from_millis(1);

/// Answers `at/once`; never answers `never`, and counts in how many handlers it is.
fn router(running: &Arc<AtomicUsize>) -> Router {
    Router::new()
        .route("at/once", async || "done")
        .route("never", async |State(running): State<Arc<AtomicUsize>>| {
            let _alive = Alive::new(&running);
            std::future::pending::<()>().await;
        })
        .with_state(Arc::clone(running))
}

async fn served() -> (Network, Requester, Responder, Arc<AtomicUsize>) {
    let running = Arc::default();
    let (network, requester, responder) = ask_and_answer(router(&running)).await;
    (network, requester, responder, running)
}

/// Tokio's timers count milliseconds and round up.
fn assert_at(elapsed: Duration, deadline: Duration) {
    assert!((deadline..=deadline + MS).contains(&elapsed), "{elapsed:?}, not {deadline:?}");
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_a_call_ends_exactly_at_its_deadline() {
    let (_network, requester, _responder, running) = served().await;
    for timeout in [MS, 20 * MS, 500 * MS, 1500 * MS, Duration::from_hours(1)] {
        let (elapsed, result) = timed(call(&requester, to("never").timeout(timeout))).await;
        let error = result.unwrap_err();
        assert_eq!((&error, error.delivery()), (&RequestError::Timeout, Delivery::Unknown));
        assert_at(elapsed, timeout);
        until("the handler is dropped", || running.load(Ordering::SeqCst) == 0).await;
    }
    assert_eq!(requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_default_timeout_is_ten_seconds_or_as_configured() {
    let (a, b) = memory::pair();
    let running = Arc::default();
    let _responder = Responder::builder(b).serve(router(&running)).await.unwrap();
    let default = Requester::builder(a.clone()).build().await.unwrap();
    let (elapsed, result) = timed(call(&default, to("never"))).await;
    assert_eq!(result.unwrap_err(), RequestError::Timeout);
    assert_at(elapsed, 10 * SECOND);

    let short = Requester::builder(a).timeout(300 * MS).build().await.unwrap();
    let (elapsed, result) = timed(call(&short, to("never"))).await;
    assert_eq!(result.unwrap_err(), RequestError::Timeout);
    assert_at(elapsed, 300 * MS);
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_timeout_and_deadline_counts() {
    let (_network, requester, _responder, _) = served().await;
    let now = || tokio::time::Instant::now().into_std();
    let request = to("never").timeout(5 * SECOND).deadline(now() + 2 * SECOND);
    assert_at(timed(call(&requester, request)).await.0, 2 * SECOND);
    let request = to("never").timeout(SECOND).deadline(now() + 2 * SECOND);
    assert_at(timed(call(&requester, request)).await.0, SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_past_sends_nothing() {
    let (_network, requester, responder, _) = served().await;
    let now = tokio::time::Instant::now().into_std();
    for request in [
        to("at/once").timeout(Duration::ZERO),
        to("at/once").deadline(now),
        to("at/once").deadline(now.checked_sub(SECOND).unwrap()),
    ] {
        let (elapsed, result) = timed(call(&requester, request)).await;
        assert_eq!((elapsed, result.unwrap_err()), (Duration::ZERO, RequestError::Timeout));
    }
    settle().await;
    assert_eq!((responder.stats().received, requester.stats().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_the_dialect_does_not_allow_sends_nothing() {
    let (network, running) = (Network::new(), Arc::default());
    let router = router(&running);
    let responder = Responder::builder(network.link("answerer")).serve(router).await.unwrap();
    let dialect = || Altered::timeouts(SECOND..=8 * SECOND);
    let builder = Requester::builder(network.link("asker")).dialect(dialect());
    let requester = builder.timeout(8 * SECOND).build().await.unwrap();
    for timeout in [Duration::ZERO, 999 * MS, 8001 * MS, Duration::MAX] {
        let error = call(&requester, to("at/once").timeout(timeout)).await.unwrap_err();
        let (shortest, longest) = (SECOND, 8 * SECOND);
        let reason = InvalidRequest::Timeout { timeout, shortest, longest };
        assert_eq!(error, RequestError::InvalidRequest(reason));
    }
    settle().await;
    assert_eq!((responder.stats().received, requester.stats().in_flight), (0, 0));

    for timeout in [SECOND, 8 * SECOND] {
        call(&requester, to("at/once").timeout(timeout)).await.unwrap();
    }
    let deadline = tokio::time::Instant::now().into_std() + 20 * MS;
    let (elapsed, result) = timed(call(&requester, to("never").deadline(deadline))).await;
    assert_eq!(result.unwrap_err(), RequestError::Timeout);
    assert_at(elapsed, 20 * MS);

    let link = network.link("other");
    let built = Requester::builder(link).dialect(dialect()).timeout(9 * SECOND).build().await;
    assert!(matches!(built.unwrap_err(), ServeError::Configuration(_)));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_any_length_is_possible() {
    let (_network, requester, _responder, _) = served().await;
    for timeout in [Duration::MAX, Duration::from_secs(u64::from(u32::MAX)), 1000 * 86400 * SECOND]
    {
        let response = call(&requester, to("at/once").timeout(timeout)).await.unwrap();
        assert_eq!(response.payload(), "done");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_there_beats_the_clock() {
    let (_network, requester, _responder, _) = served().await;
    let mut call = Box::pin(call(&requester, to("at/once").timeout(SECOND)));
    assert!(is_pending(&mut call));
    until("it is answered", || requester.stats().answered == 1).await;
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(call.await.unwrap().payload(), "done", "the caller was busy until now");
}

fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut cx).is_pending()
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_frees_its_slot_at_once() {
    let (a, b) = memory::pair();
    let running = Arc::default();
    let _responder = Responder::builder(b).serve(router(&running)).await.unwrap();
    let requester = Requester::builder(a).max_in_flight(1).build().await.unwrap();
    let call_never = start(&requester, to("never")).await;
    assert_eq!(requester.stats().in_flight, 1);
    call_never.abort();
    let (elapsed, response) = timed(call(&requester, to("at/once"))).await;
    assert_eq!((elapsed, response.unwrap().payload().as_ref()), (Duration::ZERO, &b"done"[..]));
    assert_eq!(requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_looks_at_frees_its_slot_at_its_deadline() {
    let (_network, requester, _responder, _) = served().await;
    let mut forgotten = Box::pin(call(&requester, to("never").timeout(SECOND)));
    assert!(is_pending(&mut forgotten));
    settle().await;
    assert_eq!(requester.stats().in_flight, 1);
    tokio::time::advance(SECOND + MS).await;
    until("the slot is free", || requester.stats().in_flight == 0).await;
    assert_eq!(forgotten.await.unwrap_err(), RequestError::Timeout);
}

#[test]
fn a_connection_that_is_stuck_does_not_make_its_callers_hang() {
    let stuck = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (_network, requester, _responder, _) = stuck.block_on(served());
    // Nobody drives the runtime of the links from here on.
    let callers = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let result = callers.block_on(call(&requester, to("at/once").timeout(20 * MS)));
    assert_eq!(result.unwrap_err(), RequestError::Timeout);
}

#[test]
fn calls_end_with_the_runtime_of_their_link() {
    let links = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (_network, requester, responder, _) = links.block_on(served());
    let callers = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut waiting = Box::pin(call(&requester, to("never")));
    callers.block_on(async { assert!(is_pending(&mut waiting)) });
    links.block_on(until("it has arrived", || responder.stats().received == 1));
    drop(links);
    assert_eq!(callers.block_on(waiting).unwrap_err(), RequestError::Closed);
    let late = callers.block_on(call(&requester, to("never")));
    assert_eq!(late.unwrap_err(), RequestError::Closed);
    callers.block_on(responder.shutdown(SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_before_it_is_sent_stays_here() {
    let (_network, requester, responder, _) = served().await;
    let mut never_sent = Box::pin(call(&requester, to("at/once")));
    assert!(is_pending(&mut never_sent));
    drop(never_sent);
    settle().await;
    assert_eq!((responder.stats().received, requester.stats().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_expired_request_never_reaches_the_handler() {
    let (network, requester, responder, _) = served().await;
    network.on_message(|message| match &message.properties.response_topic {
        Some(_) => Fate::Delay(2500 * MS),
        None => Fate::Deliver,
    });
    for timeout in [10 * MS, SECOND, 2 * SECOND] {
        let (elapsed, result) = timed(call(&requester, to("at/once").timeout(timeout))).await;
        assert_eq!(result.unwrap_err(), RequestError::Timeout);
        assert_at(elapsed, timeout);
    }
    tokio::time::advance(3 * SECOND).await;
    settle().await;
    assert_eq!(responder.stats().received, 0, "discarded on the way");
    call(&requester, to("at/once").timeout(4 * SECOND)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_way_took_is_taken_from_the_handlers_time() {
    let (network, requester, responder, running) = served().await;
    network.on_message(|_| Fate::Delay(2 * SECOND));
    let never = start(&requester, to("never").timeout(3 * SECOND)).await;
    tokio::time::advance(2 * SECOND).await;
    until("it has arrived", || running.load(Ordering::SeqCst) == 1).await;
    assert_eq!(never.await.unwrap().unwrap_err(), RequestError::Timeout);
    until("the handler is dropped with its caller", || responder.stats().expired == 1).await;
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_no_time_left_never_reaches_the_handler() {
    let network = Network::new();
    let running = Arc::default();
    let responder = Responder::builder(network.link("b")).serve(router(&running)).await.unwrap();
    let expired = Altered::request(|message| {
        message.properties.user.remove("timeout-ms");
        message.properties.user.push("timeout-ms", "0");
    });
    let requester = Requester::builder(network.link("a")).dialect(expired).build().await.unwrap();
    let timeout = call(&requester, to("at/once").timeout(SECOND)).await.unwrap_err();
    assert_eq!(timeout, RequestError::Timeout);
    assert_eq!((responder.stats().received, responder.stats().expired), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_to_be_sent_says_what_is_left_or_is_not_sent() {
    let network = Network::new();
    network.receive_maximum(1);
    let (seen, mut deadlines) = mpsc::unbounded_channel();
    let handler = async move |Deadline(deadline): Deadline| {
        let now = tokio::time::Instant::now().into_std();
        seen.send(deadline.unwrap() - now).unwrap();
    };
    let router = Router::new().route("when", handler);
    let responder = Responder::builder(network.link("b")).serve(router).await.unwrap();
    let requester = Requester::builder(network.link("a")).build().await.unwrap();
    network.hold_acknowledgements(true);
    let first = start(&requester, to("when").timeout(5 * SECOND)).await;
    let second = start(&requester, to("when").timeout(5 * SECOND)).await;
    let third = start(&requester, to("when").timeout(SECOND)).await;
    let fourth = start(&requester, to("when").timeout(5 * SECOND)).await;
    fourth.abort();
    first.await.unwrap().unwrap();
    assert_eq!(deadlines.recv().await, Some(5 * SECOND));
    assert_eq!(third.await.unwrap().unwrap_err(), RequestError::Timeout);
    network.hold_acknowledgements(false);
    second.await.unwrap().unwrap();
    let left = deadlines.recv().await.unwrap();
    assert!(left <= 4 * SECOND && left > 3900 * MS, "{left:?}");
    settle().await;
    assert_eq!(responder.stats().received, 2, "what expired or was given up is not sent");
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_the_handlers_future_is_dropped_and_its_cancellation_fires() {
    let (cancelled, mut seen) = mpsc::unbounded_channel();
    let running = Arc::new(AtomicUsize::new(0));
    let alive = Arc::clone(&running);
    let handler = async move |cancellation: Cancellation| {
        let _alive = Alive::new(&alive);
        let cancelled = cancelled.clone();
        tokio::spawn(async move {
            cancellation.cancelled().await;
            cancelled.send(tokio::time::Instant::now()).unwrap();
        });
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("heat", handler);
    let (_network, requester, responder) = ask_and_answer(router).await;
    let start = tokio::time::Instant::now();
    let timeout = call(&requester, to("heat").timeout(250 * MS)).await.unwrap_err();
    assert_eq!(timeout, RequestError::Timeout);
    let at = seen.recv().await.unwrap();
    assert_at(at - start, 250 * MS);
    until("the future is dropped", || running.load(Ordering::SeqCst) == 0).await;
    until("it is counted", || responder.stats().expired == 1).await;
    assert_eq!((responder.stats().in_flight, responder.stats().answered), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_cancellation_of_an_answered_request_fires_too() {
    let kept: Arc<Mutex<Option<Cancellation>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let handler = async move |cancellation: Cancellation| {
        *keep.lock().unwrap() = Some(cancellation);
    };
    let (_network, requester, _responder) =
        ask_and_answer(Router::new().route("heat", handler)).await;
    call(&requester, to("heat")).await.unwrap();
    let cancellation = kept.lock().unwrap().take().unwrap();
    cancellation.cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_gets_only_what_is_left() {
    let network = Network::new();
    let running = Arc::default();
    let _inner = Responder::builder(network.link("inner")).serve(router(&running)).await.unwrap();
    let nested = Requester::builder(network.link("nested")).build().await.unwrap();
    let (seen, mut results) = mpsc::unbounded_channel();
    let handler = async move || {
        tokio::time::sleep(400 * MS).await;
        let deadline = current_deadline();
        let patient = nested.clone();
        // A task of its own is outside, and told what is left; it also survives the deadline.
        let told = to("never").timeout(60 * SECOND).deadline(deadline.unwrap());
        let seen = seen.clone();
        tokio::spawn(async move { seen.send(timed(call(&patient, told)).await).unwrap() });
        call(&nested, to("never").timeout(60 * SECOND)).await.unwrap_err();
    };
    let outer = Router::new().route("outer", handler);
    let outer = Responder::builder(network.link("outer")).serve(outer).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    let (elapsed, result) = timed(call(&requester, to("outer").timeout(SECOND))).await;
    assert_eq!(result.unwrap_err(), RequestError::Timeout);
    assert_at(elapsed, SECOND);
    let (elapsed, result) = results.recv().await.unwrap();
    assert_eq!(result.unwrap_err(), RequestError::Timeout);
    assert_at(elapsed, 600 * MS);
    until("no handler is left", || running.load(Ordering::SeqCst) == 0).await;
    until("nor the outer", || outer.stats().in_flight == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_inherits_the_deadline_on_the_wire() {
    let network = Network::new();
    let (seen, mut deadlines) = mpsc::unbounded_channel();
    let inner = Router::new().route("inner", async move |Deadline(deadline): Deadline| {
        seen.send(deadline).unwrap();
    });
    let _inner = Responder::builder(network.link("inner")).serve(inner).await.unwrap();
    let nested = Requester::builder(network.link("nested")).build().await.unwrap();
    let outer = Router::new().route("outer", async move |Deadline(deadline): Deadline| {
        tokio::time::sleep(300 * MS).await;
        call(&nested, to("inner").timeout(60 * SECOND)).await.unwrap();
        let left: Option<Instant> = deadline;
        assert!(left.is_some());
    });
    let _outer = Responder::builder(network.link("outer")).serve(outer).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    let start = tokio::time::Instant::now().into_std();
    call(&requester, to("outer").timeout(700 * MS)).await.unwrap();
    let inner = deadlines.recv().await.unwrap().unwrap();
    assert!(inner - start <= 700 * MS && inner - start >= 690 * MS, "{:?}", inner - start);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_requests_at_qos_0_as_well() {
    let (_network, requester, _responder, _) = served().await;
    for name in ["never", "nobody/is/there"] {
        let request = to(name).qos(Qos::AtMostOnce).timeout(50 * MS);
        let (elapsed, result) = timed(call(&requester, request)).await;
        assert_eq!(result.unwrap_err(), RequestError::Timeout);
        assert_at(elapsed, 50 * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_qos_0_that_had_to_wait_is_not_sent_after_its_deadline() {
    let network = Network::new();
    network.receive_maximum(1);
    let link = network.link("answerer");
    assert!(link.connected().await);
    network.receive_maximum(u16::MAX);
    let router = Router::new().route("ask", async || "answer");
    let responder = Responder::builder(link).serve(router).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    network.hold_acknowledgements(true);
    // The first answer fills the window, and the second waits for it.
    let first = start(&requester, to("ask").timeout(10 * SECOND)).await;
    let second = start(&requester, to("ask").timeout(10 * SECOND)).await;
    let third = start(&requester, to("ask").qos(Qos::AtMostOnce).timeout(SECOND)).await;
    assert_eq!(third.await.unwrap().unwrap_err(), RequestError::Timeout);
    network.hold_acknowledgements(false);
    for call in [first, second] {
        assert_eq!(call.await.unwrap().unwrap().payload(), "answer");
    }
    settle().await;
    assert_eq!((responder.stats().expired, requester.stats().late), (1, 0));
}
