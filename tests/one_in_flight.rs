//! One call in flight for each device, and the rest of a device that has not answered.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::*;
use tokio::sync::Notify;
use tower_mqtt::link::OutgoingLimits;
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::requester::{OnDisconnect, OneInFlight, RequesterBuilder};
use tower_mqtt::responder::extract::State;
use tower_mqtt::{Delivery, Request, RequestError, Requester, Responder, Response, Router};

type Started = tokio::task::JoinHandle<Result<Response, RequestError>>;

/// A device that answers when it is told, with what it was asked.
#[derive(Clone, Default)]
struct Device {
    heard: Arc<Mutex<Vec<String>>>,
    go: Arc<Notify>,
}

impl Device {
    async fn answer(State(device): State<Self>, request: Request) -> String {
        let asked = String::from_utf8(request.payload().to_vec()).unwrap();
        device.heard.lock().unwrap().push(asked.clone());
        device.go.notified().await;
        asked
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().concat()
    }

    async fn answers(&self) {
        self.go.notify_one();
        settle().await;
    }
}

struct Bench {
    network: Network,
    requester: Requester,
    device: Device,
    _responder: Responder,
}

const REST: Duration = Duration::from_secs(5);

impl Bench {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(configure: impl FnOnce(RequesterBuilder) -> RequesterBuilder) -> Self {
        let (network, device) = (Network::new(), Device::default());
        let router = Router::new()
            .route("a", Device::answer)
            .route("b", Device::answer)
            .with_state(device.clone());
        let responder = Responder::builder(network.link("device")).serve(router).await.unwrap();
        let builder = Requester::builder(network.link("asker"));
        let builder = builder.one_in_flight(OneInFlight::PerDevice).rest(REST);
        let requester = configure(builder).build().await.unwrap();
        Self { network, requester, device, _responder: responder }
    }

    async fn ask(&self, text: &'static str) -> Started {
        self.ask_for(text, 100 * SECOND).await
    }

    async fn ask_for(&self, text: &'static str, timeout: Duration) -> Started {
        start(&self.requester, Request::new("a", text).unwrap().timeout(timeout)).await
    }
}

async fn payload(call: Started) -> String {
    String::from_utf8(call.await.unwrap().unwrap().payload().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn overlapping_calls_to_one_device_go_one_after_the_other_in_order() {
    let bench = Bench::new().await;
    let mut calls = Vec::new();
    for text in ["1", "2", "3", "4"] {
        calls.push(bench.ask(text).await);
    }
    assert_eq!(bench.device.heard(), "1");
    assert_eq!(bench.requester.stats().in_flight, 4, "a call that waits has its slot");
    for heard in ["12", "123", "1234", "1234"] {
        bench.device.answers().await;
        assert_eq!(bench.device.heard(), heard);
    }
    let mut answers = String::new();
    for call in calls {
        answers += &payload(call).await;
    }
    assert_eq!(answers, "1234");
    assert_eq!(bench.requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn other_devices_do_not_wait() {
    let bench = Bench::new().await;
    let first = bench.ask("1").await;
    let other = start(&bench.requester, Request::new("b", "x").unwrap()).await;
    assert_eq!(bench.device.heard(), "1x");
    bench.device.answers().await;
    bench.device.answers().await;
    assert_eq!((payload(first).await, payload(other).await), ("1".into(), "x".into()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_while_it_waits_leaves_no_trace() {
    let bench = Bench::new().await;
    let first = bench.ask("1").await;
    let second = bench.ask("2").await;
    let third = bench.ask("3").await;
    let fourth = bench.ask("4").await;
    [second, fourth].iter().for_each(Started::abort);
    settle().await;
    assert_eq!(bench.requester.stats().in_flight, 2);
    assert_eq!(bench.device.heard(), "1", "nobody has a turn because another gave up");
    bench.device.answers().await;
    assert_eq!(bench.device.heard(), "13");
    bench.device.answers().await;
    assert_eq!((payload(first).await, payload(third).await), ("1".into(), "3".into()));
}

#[tokio::test(start_paused = true)]
async fn the_wait_counts_against_the_deadline() {
    let bench = Bench::new().await;
    let first = bench.ask("1").await;
    let (elapsed, result) = timed(bench.ask_for("2", SECOND).await).await;
    assert_eq!(result.unwrap().unwrap_err(), RequestError::Timeout);
    assert!(elapsed <= SECOND + Duration::from_millis(1), "{elapsed:?}");
    assert_eq!(bench.requester.stats().in_flight, 1);
    bench.device.answers().await;
    assert_eq!((payload(first).await, bench.device.heard()), ("1".into(), "1".into()));
}

#[tokio::test(start_paused = true)]
async fn a_request_says_how_much_time_is_left_when_it_leaves() {
    let (network, left) = (Network::new(), Arc::new(Mutex::new(Vec::new())));
    network.on_message({
        let left = Arc::clone(&left);
        move |message| {
            let millis = message.properties.user.get("timeout-ms");
            left.lock().unwrap().extend(millis.map(|millis| millis.parse::<u64>().unwrap()));
            Fate::Deliver
        }
    });
    let router = Router::new().route("a", async || tokio::time::sleep(SECOND).await);
    let _responder = Responder::builder(network.link("device")).serve(router).await.unwrap();
    let builder = Requester::builder(network.link("asker"));
    let requester = builder.one_in_flight(OneInFlight::PerAddress).build().await.unwrap();
    let calls = [0, 1].map(|_| tokio::spawn(call(&requester, to("a").timeout(3 * SECOND))));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let left = left.lock().unwrap();
    assert!(matches!(left[..], [3000, 1990..=2000]), "{left:?}");
}

/// A device that answers at once over a slow network: the answer with this payload takes so long.
/// Says when each request was heard.
async fn slow(payload: &'static str, delay: Duration) -> (Requester, Arc<Mutex<Vec<Duration>>>) {
    let (network, heard) = (Network::new(), Arc::new(Mutex::new(Vec::new())));
    let start = tokio::time::Instant::now();
    network.on_message({
        let heard = Arc::clone(&heard);
        move |message| match message.topic.as_str() {
            "a" => {
                heard.lock().unwrap().push(start.elapsed());
                Fate::Deliver
            }
            _ if message.payload == payload => Fate::Delay(delay),
            _ => Fate::Deliver,
        }
    });
    let router = Router::new().route("a", async |request: Request| request.payload().clone());
    let responder = Responder::builder(network.link("device"))
        .dialect(Altered::response(|answer| answer.properties.message_expiry = None));
    let responder = responder.serve(router).await.unwrap();
    let requester = Requester::builder(network.link("asker"))
        .one_in_flight(OneInFlight::PerDevice)
        .rest(REST)
        .build()
        .await
        .unwrap();
    tokio::spawn(async move {
        let _responder = responder;
        std::future::pending::<()>().await;
    });
    (requester, heard)
}

fn ask(requester: &Requester, text: &'static str, timeout: Duration) -> Started {
    let request = Request::new("a", text).unwrap().timeout(timeout);
    tokio::spawn(call(requester, request))
}

/// Tokio's timers count milliseconds and round up.
fn assert_at(heard: &Mutex<Vec<Duration>>, expected: &[Duration]) {
    let heard = heard.lock().unwrap();
    let near = |(at, expected): (&Duration, &Duration)| {
        (*expected..=*expected + Duration::from_millis(3)).contains(at)
    };
    let all = heard.len() == expected.len() && heard.iter().zip(expected).all(near);
    assert!(all, "{heard:?}, not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_timeout_the_next_call_waits_for_the_late_answer() {
    let (requester, heard) = slow("1", 3 * SECOND).await;
    let calls = [ask(&requester, "1", SECOND), ask(&requester, "2", 10 * SECOND)];
    let [first, second] = calls.map(|call| async { call.await.unwrap() });
    assert_eq!(first.await.unwrap_err(), RequestError::Timeout);
    assert_eq!(second.await.unwrap().payload(), "2");
    assert_at(&heard, &[Duration::ZERO, 3 * SECOND]);
    assert_eq!(requester.stats().late, 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_late_answer_it_waits_for_the_rest() {
    let (requester, heard) = slow("1", 100 * SECOND).await;
    let first = ask(&requester, "1", SECOND);
    assert_eq!(first.await.unwrap().unwrap_err(), RequestError::Timeout);
    assert_eq!(requester.stats().in_flight, 0, "a device at rest takes no slot");
    let calls = ["2", "3"].map(|text| ask(&requester, text, 10 * SECOND));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_at(&heard, &[Duration::ZERO, SECOND + REST, SECOND + REST]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_in_flight_leaves_its_device_at_rest() {
    let (requester, heard) = slow("1", 3 * SECOND).await;
    let first = start(&requester, Request::new("a", "1").unwrap()).await;
    first.abort();
    let second = ask(&requester, "2", 10 * SECOND);
    assert_eq!(second.await.unwrap().unwrap().payload(), "2");
    assert_at(&heard, &[Duration::ZERO, 3 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_within_the_rest_is_a_timeout_and_nothing_is_sent() {
    let (requester, heard) = slow("1", 100 * SECOND).await;
    let calls = ["1", "2"].map(|text| ask(&requester, text, SECOND));
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err(), RequestError::Timeout);
    }
    tokio::time::sleep(REST).await;
    assert_at(&heard, &[Duration::ZERO]);
    ask(&requester, "3", SECOND).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_left_needs_no_rest() {
    let bench = Bench::new().await;
    let nobody = Request::new("nobody", "").unwrap();
    for _ in 0..3 {
        let (elapsed, result) = timed(call(&bench.requester, nobody.clone())).await;
        assert_eq!((elapsed, result.unwrap_err()), (Duration::ZERO, RequestError::NoResponder));
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_one_attempt_completes_the_one_that_waits() {
    let bench = Bench::new().await;
    let attempt = || Request::new("a", "1").unwrap().correlation_data(&b"id"[..]);
    let first = start(&bench.requester, attempt()).await;
    let second = start(&bench.requester, attempt()).await;
    bench.device.answers().await;
    assert_eq!((payload(first).await, payload(second).await), ("1".into(), "1".into()));
    assert_eq!(bench.device.heard(), "1");
    let third = bench.ask("3").await;
    bench.device.answers().await;
    assert_eq!(payload(third).await, "3");
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_are_not_delivered_when_the_connection_is_lost() {
    let bench = Bench::new().await;
    let calls = [bench.ask("1").await, bench.ask("2").await];
    bench.network.disconnect("asker");
    for (call, delivery) in calls.into_iter().zip([Delivery::Unknown, Delivery::NotDelivered]) {
        assert_eq!(call.await.unwrap().unwrap_err(), RequestError::Disconnected(delivery));
    }
    bench.network.reconnect("asker");
    settle().await;
    let third = bench.ask("3").await;
    assert_eq!(
        bench.device.heard(),
        "1",
        "it may still be answered, so that its device is at rest"
    );
    bench.device.answers().await;
    assert_eq!((bench.device.heard(), bench.requester.stats().late), ("13".into(), 1));
    bench.device.answers().await;
    assert_eq!(payload(third).await, "3");
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_ride_through_a_lost_connection() {
    let bench = Bench::with(|builder| builder.on_disconnect(OnDisconnect::RideThrough)).await;
    let calls = [bench.ask("1").await, bench.ask("2").await];
    bench.network.disconnect("asker");
    settle().await;
    bench.network.reconnect("asker");
    let [first, second] = calls;
    let unknown = RequestError::Disconnected(Delivery::Unknown);
    assert_eq!(first.await.unwrap().unwrap_err(), unknown);
    tokio::time::sleep(REST).await;
    until("the second is heard", || bench.device.heard() == "12").await;
    second.abort();
}

#[tokio::test(start_paused = true)]
async fn a_full_outgoing_queue_fails_each_call_when_it_has_its_turn() {
    const CALLS: usize = 10_000;
    let (network, device) = (Network::new(), Device::default());
    let router = Router::new().route("a", Device::answer).with_state(device.clone());
    let _responder = Responder::builder(network.link("device")).serve(router).await.unwrap();
    network.receive_maximum(1);
    let limits = OutgoingLimits { bytes: 500, ..OutgoingLimits::default() };
    let builder = Requester::builder(network.link_with("asker", limits));
    let builder = builder.one_in_flight(OneInFlight::PerDevice).max_in_flight(CALLS + 1);
    let requester = builder.build().await.unwrap();
    network.hold_acknowledgements(true);
    let first = start(&requester, to("a")).await;
    let large = || Request::new("a", "x".repeat(1000)).unwrap();
    let calls: Vec<_> = (0..CALLS).map(|_| tokio::spawn(call(&requester, large()))).collect();
    until("all wait", || requester.stats().in_flight == CALLS + 1).await;
    settle().await;
    device.answers().await;
    first.await.unwrap().unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err(), RequestError::Overloaded);
    }
    assert_eq!(requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_closed_fails_what_waits() {
    let bench = Bench::new().await;
    let calls = [bench.ask("1").await, bench.ask("2").await];
    bench.requester.link().close();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err(), RequestError::Closed);
    }
}
