//! Stopping politely, and stopping at once: nothing is left behind.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::*;
use tokio::sync::Semaphore;
use tower_mqtt::link::memory::Network;
use tower_mqtt::responder::Acknowledge;
use tower_mqtt::{RequestError, Requester, Responder, Router};

/// A handler that waits for a permit, and counts how many of it there are.
#[derive(Clone)]
struct Gate {
    running: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { running: Arc::default(), permits: Arc::new(Semaphore::new(0)) }
    }
}

impl Gate {
    fn router(&self) -> Router {
        let gate = self.clone();
        Router::new().route("wait", move || {
            let gate = gate.clone();
            async move {
                let _alive = Alive::new(&gate.running);
                gate.permits.acquire().await.unwrap().forget();
                "done"
            }
        })
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_finish_and_their_answers_are_sent_before_it_returns() {
    let gate = Gate::default();
    let (network, requester, responder) = ask_and_answer(gate.router()).await;
    let calls = [start(&requester, to("wait")).await, start(&requester, to("wait")).await];
    let shutdown = tokio::spawn(responder.shutdown(5 * SECOND));
    settle().await;
    assert!(!network.has_subscriber(&topic("wait")), "nothing more comes");
    let nobody = call(&requester, to("wait")).await.unwrap_err();
    assert_eq!(nobody, RequestError::NoResponder);
    assert!(!shutdown.is_finished());
    gate.permits.add_permits(2);
    let (elapsed, done) = timed(shutdown).await;
    done.unwrap();
    assert_eq!((elapsed, gate.running()), (Duration::ZERO, 0));
    assert_eq!(requester.stats().answered, 2, "they are there already");
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().payload(), "done");
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_that_do_not_finish_are_dropped_and_answered_408() {
    let gate = Gate::default();
    let (_network, requester, responder) = ask_and_answer(gate.router()).await;
    let waiting = start(&requester, to("wait")).await;
    let (elapsed, ()) = timed(responder.shutdown(3 * SECOND)).await;
    assert!(elapsed >= 3 * SECOND && elapsed < 4 * SECOND, "{elapsed:?}");
    assert_eq!(gate.running(), 0, "no task is left");
    assert_eq!(waiting.await.unwrap().unwrap().status().code(), 408);
}

#[tokio::test(start_paused = true)]
async fn an_idle_responder_stops_at_once() {
    let (_network, _requester, responder) = ask_and_answer(Gate::default().router()).await;
    let (elapsed, ()) = timed(responder.shutdown(Duration::from_hours(1))).await;
    assert_eq!(elapsed, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_until_answers_are_acknowledged_but_not_forever() {
    let gate = Gate::default();
    let (network, requester, responder) = ask_and_answer(gate.router()).await;
    let waiting = start(&requester, to("wait")).await;
    network.hold_acknowledgements(true);
    gate.permits.add_permits(1);
    waiting.await.unwrap().unwrap();
    let shutdown = tokio::spawn(responder.shutdown(Duration::ZERO));
    settle().await;
    assert!(!shutdown.is_finished(), "the answer is not acknowledged");
    let (elapsed, done) = timed(shutdown).await;
    done.unwrap();
    assert!(elapsed > Duration::ZERO && elapsed <= SECOND + SECOND / 10, "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn shutdown_without_a_connection_waits_for_it_and_sends_the_answers() {
    let gate = Gate::default();
    let (network, requester, responder) = ask_and_answer(gate.router()).await;
    let waiting = start(&requester, to("wait")).await;
    network.disconnect("answerer");
    responder.link().disconnected().await;
    gate.permits.add_permits(1);
    let shutdown = tokio::spawn(responder.shutdown(5 * SECOND));
    tokio::time::advance(SECOND).await;
    settle().await;
    assert!(!shutdown.is_finished());
    network.reconnect("answerer");
    assert_eq!(waiting.await.unwrap().unwrap().payload(), "done");
    shutdown.await.unwrap();
    assert!(!network.has_subscriber(&topic("wait")), "it has not subscribed again");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_responder_stops_it() {
    let gate = Gate::default();
    let (network, requester, responder) = ask_and_answer(gate.router()).await;
    let waiting = start(&requester, to("wait")).await;
    drop(responder);
    assert_eq!(waiting.await.unwrap().unwrap().status().code(), 408);
    assert_eq!(gate.running(), 0);
    until("it is unsubscribed", || !network.has_subscriber(&topic("wait"))).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_shutdown_stops_at_once() {
    let gate = Gate::default();
    let (_network, requester, responder) = ask_and_answer(gate.router()).await;
    let waiting = start(&requester, to("wait").timeout(60 * SECOND)).await;
    let shutdown = tokio::time::timeout(SECOND, responder.shutdown(50 * SECOND));
    shutdown.await.unwrap_err();
    let (elapsed, outcome) = timed(waiting).await;
    assert_eq!(outcome.unwrap().unwrap().status().code(), 408);
    assert!(elapsed < SECOND, "{elapsed:?}");
    assert_eq!(gate.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_responder_leaves_its_routes_to_its_neighbour_on_the_link() {
    let gate = Gate::default();
    let network = Network::new();
    let link = network.link("answerer");
    let stopping = Responder::builder(link.clone()).serve(gate.router()).await.unwrap();
    let neighbour = Router::new().route("wait", async || "neighbour");
    let _neighbour = Responder::builder(link).serve(neighbour).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    let waiting = start(&requester, to("wait")).await;
    let shutdown = tokio::spawn(stopping.shutdown(5 * SECOND));
    settle().await;
    assert_eq!(call(&requester, to("wait")).await.unwrap().payload(), "neighbour");
    gate.permits.add_permits(1);
    assert_eq!(waiting.await.unwrap().unwrap().payload(), "done");
    shutdown.await.unwrap();
    assert_eq!(call(&requester, to("wait")).await.unwrap().payload(), "neighbour");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_does_not_hold_up_the_shutdown() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let entered = Arc::new(Semaphore::new(0));
    let inside = Arc::clone(&entered);
    let router = Router::new().route("block", async move || {
        inside.add_permits(1);
        let _ = released.lock().unwrap().recv();
    });
    let (_network, requester, responder) = ask_and_answer(router).await;
    let blocked = tokio::spawn(call(&requester, to("block")));
    entered.acquire().await.unwrap().forget();
    responder.shutdown(Duration::ZERO).await;
    drop(release);
    blocked.abort();
}

#[tokio::test(start_paused = true)]
async fn closing_the_link_drops_the_handlers() {
    let gate = Gate::default();
    let (_network, requester, responder) = ask_and_answer(gate.router()).await;
    let waiting = start(&requester, to("wait").timeout(SECOND)).await;
    responder.link().close();
    until("no handler is left", || gate.running() == 0).await;
    assert_eq!(waiting.await.unwrap().unwrap_err(), RequestError::Timeout);
    assert_eq!(responder.stats().in_flight, 0);
    let (elapsed, ()) = timed(responder.shutdown(SECOND)).await;
    assert_eq!(elapsed, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn on_receipt_a_request_is_acknowledged_before_it_is_answered() {
    let gate = Gate::default();
    let (network, requester, _responder) = ask_and_answer(gate.router()).await;
    let waiting = start(&requester, to("wait")).await;
    assert_eq!((gate.running(), network.unacknowledged("answerer")), (1, 0));
    gate.permits.add_permits(1);
    waiting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_the_answer_a_request_is_acknowledged_when_it_is_answered() {
    let gate = Gate::default();
    let network = Network::new();
    network.keep_sessions(true);
    let builder = Responder::builder(network.link("answerer"));
    let builder = builder.acknowledge(Acknowledge::AfterAnswer);
    let responder = builder.serve(gate.router()).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    let waiting = start(&requester, to("wait")).await;
    assert_eq!((gate.running(), network.unacknowledged("answerer")), (1, 1));

    network.disconnect("answerer");
    responder.link().disconnected().await;
    network.reconnect("answerer");
    until("it is delivered again", || gate.running() == 2).await;
    gate.permits.add_permits(1);
    assert_eq!(waiting.await.unwrap().unwrap().payload(), "done");
    settle().await;
    assert_eq!(network.unacknowledged("answerer"), 1, "the first delivery can not be acknowledged");
    gate.permits.add_permits(1);
    until("the second is", || network.unacknowledged("answerer") == 0).await;
    until("nobody waits for its answer", || requester.stats().duplicate == 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_connection_ends_with_its_last_handle() {
    let network = Network::new();
    let link = network.link("asker");
    let requester = Requester::builder(link.clone()).build().await.unwrap();
    let other = requester.clone();
    drop((link, requester));
    settle().await;
    assert!(network.has_subscriber(&topic("clients/asker/responses")));
    drop(other);
    until("it is gone", || !network.has_subscriber(&topic("clients/asker/responses"))).await;
}
