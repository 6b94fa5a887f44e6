//! What a lost connection does to calls in flight, and how both sides come back.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower::ServiceExt;
use tower_mqtt::core::packet::Qos;
use tower_mqtt::link::OutgoingLimits;
use tower_mqtt::link::memory::Network;
use tower_mqtt::requester::OnDisconnect;
use tower_mqtt::{Delivery, Request, RequestError, Requester, Responder, Response, Router};

/// A responder whose handler on `ask` waits for a permit, and a requester.
struct Kitchen {
    network: Network,
    requester: Requester,
    responder: Responder,
    gate: Arc<Semaphore>,
}

impl Kitchen {
    async fn open(on_disconnect: OnDisconnect, keeps_sessions: bool) -> Self {
        let network = Network::new();
        network.keep_sessions(keeps_sessions);
        let gate = Arc::new(Semaphore::new(0));
        let handler = {
            let gate = Arc::clone(&gate);
            move |request: Request| {
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    request.payload().clone()
                }
            }
        };
        let router = Router::new().route("ask", handler).route("at/once", async || "done");
        let responder = Responder::builder(network.link("answerer")).serve(router).await.unwrap();
        let requester = Requester::builder(network.link("asker")).on_disconnect(on_disconnect);
        let requester = requester.build().await.unwrap();
        Self { network, requester, responder, gate }
    }

    async fn cut(&self) {
        self.network.disconnect("asker");
        self.requester.link().disconnected().await;
    }

    async fn join(&self) {
        self.network.reconnect("asker");
        assert!(self.requester.link().connected().await);
    }

    /// A call that the server has, and that waits for the handler.
    async fn acknowledged(&self, request: Request) -> Call {
        let received = self.responder.stats().received;
        let call = start(&self.requester, request).await;
        assert_eq!(self.responder.stats().received, received + 1);
        call
    }

    /// A call that was written, and whose acknowledgement never comes.
    async fn unacknowledged(&self, request: Request) -> Call {
        self.network.hold_acknowledgements(true);
        let call = self.acknowledged(request).await;
        self.cut().await;
        self.network.hold_acknowledgements(false);
        call
    }
}

type Call = JoinHandle<Result<Response, RequestError>>;

fn ask() -> Request {
    Request::new("ask", "soup").unwrap()
}

async fn answered(call: Call) {
    assert_eq!(call.await.unwrap().unwrap().payload(), "soup");
}

async fn failed(call: Call) -> RequestError {
    let (elapsed, outcome) = timed(call).await;
    assert_eq!(elapsed, Duration::ZERO, "at once");
    outcome.unwrap().unwrap_err()
}

const UNKNOWN: RequestError = RequestError::Disconnected(Delivery::Unknown);
const NOT_DELIVERED: RequestError = RequestError::Disconnected(Delivery::NotDelivered);

#[tokio::test(start_paused = true)]
async fn fail_fast_fails_what_is_in_flight_and_what_is_called_meanwhile() {
    let kitchen = Kitchen::open(OnDisconnect::FailFast, false).await;
    let waiting = kitchen.acknowledged(ask()).await;
    let idempotent = kitchen.acknowledged(ask().idempotent()).await;
    let written = kitchen.unacknowledged(ask()).await;
    for call in [waiting, idempotent, written] {
        assert_eq!(failed(call).await, UNKNOWN);
    }
    assert_eq!(call(&kitchen.requester, ask()).await.unwrap_err(), NOT_DELIVERED);
    assert_eq!(kitchen.requester.stats().in_flight, 0);
    kitchen.join().await;
    assert_eq!(call(&kitchen.requester, to("at/once")).await.unwrap().payload(), "done");
}

#[tokio::test(start_paused = true)]
async fn fail_fast_knows_what_was_not_sent() {
    let network = Network::new();
    network.receive_maximum(1);
    let router = Router::new().route("at/once", async || "done");
    let _responder = Responder::builder(network.link("answerer")).serve(router).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    network.on_message(|_| tower_mqtt::link::memory::Fate::Lose);
    network.hold_acknowledgements(true);
    let written = start(&requester, to("at/once")).await;
    let queued = start(&requester, to("at/once")).await;
    network.disconnect("asker");
    assert_eq!(failed(written).await, UNKNOWN);
    assert_eq!(failed(queued).await, NOT_DELIVERED);
}

#[tokio::test(start_paused = true)]
async fn ride_through_with_a_kept_session_loses_nothing() {
    let kitchen = Kitchen::open(OnDisconnect::RideThrough, true).await;
    let waiting = kitchen.acknowledged(ask().idempotent()).await;
    let written = kitchen.unacknowledged(ask()).await;
    let meanwhile = start(&kitchen.requester, ask()).await;
    kitchen.gate.add_permits(10);
    until("answers wait on the server", || kitchen.network.unacknowledged("asker") == 2).await;
    kitchen.join().await;
    for call in [waiting, written, meanwhile] {
        answered(call).await;
    }
    settle().await;
    assert_eq!(kitchen.responder.stats().received, 3, "what is answered is not sent again");
    let stats = kitchen.requester.stats();
    assert_eq!((stats.in_flight, stats.answered, stats.duplicate), (0, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn ride_through_with_a_kept_session_sends_again_what_was_not_acknowledged() {
    let kitchen = Kitchen::open(OnDisconnect::RideThrough, true).await;
    let waiting = kitchen.acknowledged(ask().idempotent()).await;
    let written = kitchen.unacknowledged(ask()).await;
    kitchen.join().await;
    until("it has come again", || kitchen.responder.stats().received == 3).await;
    settle().await;
    assert_eq!(kitchen.responder.stats().received, 3, "what was acknowledged has not");
    kitchen.gate.add_permits(3);
    answered(waiting).await;
    answered(written).await;
    until("with the same id", || kitchen.requester.stats().duplicate == 1).await;
}

#[tokio::test(start_paused = true)]
async fn ride_through_without_a_session_sends_again_what_is_idempotent() {
    let kitchen = Kitchen::open(OnDisconnect::RideThrough, false).await;
    let waiting = kitchen.acknowledged(ask()).await;
    let safe_waiting = kitchen.acknowledged(ask().idempotent()).await;
    kitchen.network.hold_acknowledgements(true);
    let written = kitchen.acknowledged(ask()).await;
    let safe_written = kitchen.unacknowledged(ask().idempotent()).await;
    let meanwhile = start(&kitchen.requester, ask()).await;
    assert!([&waiting, &written, &meanwhile].iter().all(|call| !call.is_finished()));
    kitchen.join().await;
    for call in [waiting, written] {
        assert_eq!(failed(call).await, UNKNOWN);
    }
    until("two again and a new one", || kitchen.responder.stats().received == 4 + 3).await;
    kitchen.gate.add_permits(10);
    for call in [safe_waiting, safe_written, meanwhile] {
        answered(call).await;
    }
    assert_eq!(kitchen.requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn ride_through_carries_more_than_the_outgoing_queue_holds() {
    const CALLS: usize = 20;
    let kitchen = Kitchen::open(OnDisconnect::RideThrough, true).await;
    let limits = OutgoingLimits { messages: 4, bytes: 4 * 1024 };
    let link = kitchen.network.link_with("caller", limits);
    let builder = Requester::builder(link).on_disconnect(OnDisconnect::RideThrough);
    let requester = builder.build().await.unwrap();
    kitchen.network.hold_acknowledgements(true);
    let mut calls = Vec::new();
    for number in 0..2 * CALLS {
        if number == CALLS {
            kitchen.network.disconnect("caller");
            requester.link().disconnected().await;
        }
        let request = Request::new("ask", vec![b'x'; 1024]).unwrap().idempotent();
        calls.push(start(&requester, request).await);
    }
    kitchen.network.hold_acknowledgements(false);
    for session_present in [true, false] {
        // Some are sent, and the others lose their connection again.
        kitchen.network.hold_acknowledgements(true);
        kitchen.network.receive_maximum(3);
        kitchen.network.keep_sessions(session_present);
        kitchen.network.reconnect("caller");
        assert!(requester.link().connected().await);
        settle().await;
        kitchen.network.disconnect("caller");
        requester.link().disconnected().await;
        kitchen.network.hold_acknowledgements(false);
    }
    kitchen.network.reconnect("caller");
    kitchen.gate.add_permits(100 * CALLS);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().payload().len(), 1024);
    }
    assert_eq!(requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_executed_is_not_undelivered_because_its_second_try_is() {
    let kitchen = Kitchen::open(OnDisconnect::RideThrough, false).await;
    let waiting = kitchen.acknowledged(ask().idempotent()).await;
    let written = kitchen.unacknowledged(ask().idempotent()).await;
    let meanwhile = start(&kitchen.requester, ask()).await;
    let Kitchen { network, requester, responder, .. } = kitchen;
    responder.shutdown(Duration::ZERO).await;
    network.reconnect("asker");
    for call in [waiting, written] {
        assert_eq!(failed(call).await, UNKNOWN);
    }
    assert_eq!(failed(meanwhile).await, RequestError::NoResponder);
    assert_eq!(requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_once_is_not_sent_again_without_its_session() {
    let kitchen = Kitchen::open(OnDisconnect::RideThrough, true).await;
    kitchen.network.hold_acknowledgements(true);
    let first = kitchen.acknowledged(ask()).await;
    let second = kitchen.acknowledged(ask()).await;
    kitchen.cut().await;
    // The second cannot leave in the kept session, before that is lost as well.
    kitchen.network.receive_maximum(1);
    kitchen.join().await;
    until("the first has come again", || kitchen.responder.stats().received == 3).await;
    kitchen.network.keep_sessions(false);
    kitchen.cut().await;
    kitchen.join().await;
    for call in [first, second] {
        assert_eq!(failed(call).await, UNKNOWN);
    }
    settle().await;
    assert_eq!(kitchen.responder.stats().received, 3);
}

#[tokio::test(start_paused = true)]
async fn ride_through_at_qos_0_goes_on_waiting_only_with_a_session() {
    for keeps in [true, false] {
        let kitchen = Kitchen::open(OnDisconnect::RideThrough, keeps).await;
        let call = kitchen.acknowledged(ask().qos(Qos::AtMostOnce)).await;
        kitchen.cut().await;
        kitchen.join().await;
        if keeps {
            kitchen.gate.add_permits(1);
            answered(call).await;
        } else {
            assert_eq!(failed(call).await, UNKNOWN);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ride_through_ends_at_the_deadline() {
    let kitchen = Kitchen::open(OnDisconnect::RideThrough, false).await;
    let waiting = kitchen.acknowledged(ask().timeout(2 * SECOND)).await;
    kitchen.cut().await;
    let meanwhile = start(&kitchen.requester, ask().timeout(SECOND)).await;
    let (elapsed, outcome) = timed(meanwhile).await;
    assert_eq!(outcome.unwrap().unwrap_err(), RequestError::Timeout);
    assert!(elapsed >= SECOND && elapsed < SECOND * 11 / 10);
    assert_eq!(waiting.await.unwrap().unwrap_err(), RequestError::Timeout);
    let received = kitchen.responder.stats().received;
    kitchen.join().await;
    settle().await;
    assert_eq!(kitchen.responder.stats().received, received, "nothing expired is sent");
    assert_eq!(kitchen.requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_again_says_what_is_left() {
    let kitchen = Kitchen::open(OnDisconnect::RideThrough, false).await;
    kitchen.cut().await;
    let call = start(&kitchen.requester, ask().timeout(2 * SECOND)).await;
    tokio::time::advance(SECOND).await;
    kitchen.join().await;
    until("it is sent", || kitchen.responder.stats().received == 1).await;
    assert_eq!(call.await.unwrap().unwrap_err(), RequestError::Timeout);
    until("the handler goes with it", || kitchen.responder.stats().expired == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_responder_subscribes_again() {
    let kitchen = Kitchen::open(OnDisconnect::FailFast, false).await;
    kitchen.network.disconnect("answerer");
    kitchen.responder.link().disconnected().await;
    let nobody = call(&kitchen.requester, to("at/once")).await.unwrap_err();
    assert_eq!(nobody, RequestError::NoResponder);
    kitchen.network.reconnect("answerer");
    assert!(kitchen.responder.link().connected().await);
    assert_eq!(call(&kitchen.requester, to("at/once")).await.unwrap().payload(), "done");
}

#[tokio::test(start_paused = true)]
async fn a_responder_sends_unacknowledged_answers_again() {
    let kitchen = Kitchen::open(OnDisconnect::FailFast, false).await;
    let early = kitchen.acknowledged(ask()).await;
    let late = kitchen.acknowledged(ask()).await;
    let expired = kitchen.acknowledged(ask().timeout(SECOND)).await;
    kitchen.network.hold_acknowledgements(true);
    kitchen.gate.add_permits(1);
    answered(early).await; // Its answer is written, and not acknowledged.
    kitchen.network.disconnect("answerer");
    kitchen.responder.link().disconnected().await;
    kitchen.network.hold_acknowledgements(false);
    kitchen.gate.add_permits(2);
    until("the handlers are done", || kitchen.responder.stats().in_flight == 0).await;
    assert_eq!(expired.await.unwrap().unwrap_err(), RequestError::Timeout);
    kitchen.network.reconnect("answerer");
    answered(late).await;
    until("the first answer comes again", || kitchen.requester.stats().duplicate == 1).await;
    settle().await;
    assert_eq!(kitchen.requester.stats().late, 0, "an expired answer is not sent");
    assert_eq!(kitchen.responder.stats().expired, 1);
}

#[tokio::test(start_paused = true)]
async fn building_on_a_link_that_goes_down_is_an_error_and_on_a_closed_one_too() {
    use tower_mqtt::ServeError;
    let network = Network::new();
    let link = network.link("a");
    assert!(link.connected().await);
    network.disconnect("a");
    link.disconnected().await;
    let waiting = tokio::spawn(Requester::builder(link.clone()).build());
    settle().await;
    assert!(!waiting.is_finished(), "it waits for the connection");
    let given_up = tokio::spawn(Requester::builder(link.clone()).build());
    settle().await;
    given_up.abort();
    network.reconnect("a");
    let requester = waiting.await.unwrap().unwrap();
    assert!(!network.has_subscriber(&topic("clients/a/responses/1")), "given up and undone");
    link.close();
    let error = call(&requester, to("x")).await.unwrap_err();
    assert_eq!(error, RequestError::Closed);
    let error = Requester::builder(link.clone()).build().await.unwrap_err();
    assert!(matches!(error, ServeError::Closed), "{error}");
    assert!(!link.connected().await);
}

#[tokio::test(start_paused = true)]
async fn closing_the_link_fails_calls_in_flight() {
    let kitchen = Kitchen::open(OnDisconnect::RideThrough, true).await;
    let waiting = kitchen.acknowledged(ask()).await;
    kitchen.requester.link().close();
    assert_eq!(failed(waiting).await, RequestError::Closed);
    let not_ready = kitchen.requester.clone().ready().await.unwrap_err();
    assert_eq!(not_ready, RequestError::Closed);
    assert_eq!(kitchen.requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_requester_that_goes_while_the_connection_is_down_leaves_no_subscription() {
    let network = Network::new();
    network.keep_sessions(true);
    let link = network.link("a");
    let first = Requester::builder(link.clone()).build().await.unwrap();
    let second = Requester::builder(link.clone()).build().await.unwrap();
    network.disconnect("a");
    link.disconnected().await;
    drop(second);
    settle().await;
    assert!(network.has_subscriber(&topic("clients/a/responses/1")), "the session has it");
    network.reconnect("a");
    assert!(link.connected().await);
    settle().await;
    assert!(!network.has_subscriber(&topic("clients/a/responses/1")));
    assert!(network.has_subscriber(&topic("clients/a/responses")));
    drop(first);
}
