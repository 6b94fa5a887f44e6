//! Ids that come round again are not lent while an answer to an earlier request may still come.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::*;
use tower::{ServiceBuilder, ServiceExt};
use tower_mqtt::dialect::IdFormat;
use tower_mqtt::dialect::rrpc::tencent;
use tower_mqtt::dialect::template::huawei_commands;
use tower_mqtt::layer::{RetryLayer, retry::RetryPolicy};
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::{Request, RequestError, Requester, Responder, Router, ServeError};

const QUARANTINE: Duration = Duration::from_mins(1);
const MS: Duration = Duration::from_millis(1);

fn ids(first: u16, last: u16) -> Altered {
    Altered::ids(IdFormat::Short { first, last, quarantine: QUARANTINE })
}

struct Bench {
    network: Network,
    requester: Requester,
    _responder: Responder,
}

impl Bench {
    /// With a device that answers `ask` at once, and `lose` never.
    async fn new(first: u16, last: u16) -> Self {
        let router = Router::new()
            .route("ask", async |request: Request| request.payload().clone())
            .route("lose", async || std::future::pending::<()>().await);
        let network = Network::new();
        let builder = Responder::builder(network.link("device"));
        let without_expiry = Altered::response(|answer| answer.properties.message_expiry = None);
        let responder = builder.dialect(without_expiry).serve(router).await.unwrap();
        let builder = Requester::builder(network.link("asker")).dialect(ids(first, last));
        let requester = builder.build().await.unwrap();
        Self { network, requester, _responder: responder }
    }

    async fn ask(&self) -> Result<(), RequestError> {
        call(&self.requester, to("ask")).await.map(drop)
    }

    async fn lose(&self) -> RequestError {
        call(&self.requester, to("lose").timeout(MS)).await.unwrap_err()
    }
}

#[tokio::test(start_paused = true)]
async fn each_number_is_used_before_one_comes_round_again() {
    let bench = Bench::new(10_000, 10_099).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    bench.network.on_message({
        let seen = Arc::clone(&seen);
        move |message| {
            if message.topic.as_str() == "ask" {
                seen.lock().unwrap().extend(message.properties.correlation_data.clone());
            }
            Fate::Deliver
        }
    });
    for _ in 0..300 {
        // A choice of the caller's cannot be carried.
        let request = to("ask").correlation_data(&b"of the caller"[..]);
        call(&bench.requester, request).await.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|id| id.len() == 5));
    assert_eq!((&seen[..100], &seen[100..200]), (&seen[100..200], &seen[200..]));
    let mut once = seen[..100].to_vec();
    once.sort();
    let all: Vec<_> = (10_000..10_100).map(|id| id.to_string()).collect();
    assert_eq!(once, all);
}

#[tokio::test(start_paused = true)]
async fn an_id_without_its_answer_rests_and_the_late_answer_is_nobodys() {
    let bench = Bench::new(1, 2).await;
    bench.network.on_message(|message| match &message.payload[..] {
        b"late" if message.topic.as_str() != "ask" => Fate::Delay(SECOND),
        _ => Fate::Deliver,
    });
    let late = Request::new("ask", "late").unwrap().timeout(MS);
    assert_eq!(call(&bench.requester, late).await.unwrap_err(), RequestError::Timeout);
    // The other id serves all of these, before the late answer and after it.
    for _ in 0..200 {
        let response = call(&bench.requester, Request::new("ask", "own").unwrap()).await.unwrap();
        assert_eq!(response.payload(), "own");
        tokio::time::sleep(10 * MS).await;
    }
    assert_eq!(bench.requester.stats().late, 1);
}

#[tokio::test(start_paused = true)]
async fn when_all_rest_a_call_is_overloaded_until_the_quarantine_is_over() {
    let bench = Bench::new(1, 2).await;
    assert_eq!(bench.lose().await, RequestError::Timeout);
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.lose().await, RequestError::Timeout);
    assert_eq!(bench.ask().await, Err(RequestError::Overloaded));
    settle().await;
    assert_eq!(bench.requester.stats().in_flight, 0);
    tokio::time::sleep(59 * SECOND + 10 * MS).await;
    assert_eq!(bench.ask().await, Ok(()));
    assert_eq!(bench.lose().await, RequestError::Timeout);
    assert_eq!(bench.ask().await, Err(RequestError::Overloaded), "one of them still rests");
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.ask().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_number_rests_for_its_own_device_only() {
    let network = Network::new();
    let never = async || std::future::pending::<()>().await;
    let router = Router::new().route("pk/mute", never).route("pk/{device}", async || "well");
    let device = Responder::builder(network.link("devices")).dialect(tencent::rrpc());
    let _devices = device.serve(router).await.unwrap();
    let ids = IdFormat::Short { first: 1, last: 2, quarantine: QUARANTINE };
    let requester = Requester::builder(network.link("asker")).dialect(tencent::rrpc().ids(ids));
    let requester = requester.build().await.unwrap();
    let mute = || call(&requester, to("pk/mute").timeout(MS));
    for _ in 0..2 {
        assert_eq!(mute().await.unwrap_err(), RequestError::Timeout);
        tokio::time::sleep(SECOND).await;
    }
    for device in ["pk/1", "pk/2", "pk/1"] {
        assert_eq!(call(&requester, to(device)).await.unwrap().payload(), "well");
    }
    assert_eq!(mute().await.unwrap_err(), RequestError::Overloaded);
    tokio::time::sleep(QUARANTINE).await;
    assert_eq!(mute().await.unwrap_err(), RequestError::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_leaves_its_id_at_rest() {
    let bench = Bench::new(1, 1).await;
    start(&bench.requester, to("lose")).await.abort();
    settle().await;
    assert_eq!(bench.ask().await, Err(RequestError::Overloaded));
    tokio::time::sleep(QUARANTINE).await;
    assert_eq!(bench.ask().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_leaves_the_ids_in_flight_at_rest() {
    let bench = Bench::new(1, 2).await;
    let call = start(&bench.requester, to("lose")).await;
    bench.network.disconnect("asker");
    assert!(matches!(call.await.unwrap(), Err(RequestError::Disconnected(_))));
    for _ in 0..3 {
        let error = bench.ask().await.unwrap_err();
        assert!(matches!(error, RequestError::Disconnected(_)), "the id was not used: {error}");
    }
    bench.network.reconnect("asker");
    settle().await;
    assert_eq!(bench.ask().await, Ok(()));
    let _other = start(&bench.requester, to("lose")).await;
    assert_eq!(bench.ask().await, Err(RequestError::Overloaded));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_never_left_is_lent_again_at_once() {
    let bench = Bench::new(1, 1).await;
    bench.network.maximum_packet_size(1000);
    bench.network.disconnect("asker");
    bench.network.reconnect("asker");
    settle().await;
    for _ in 0..3 {
        let nobody = call(&bench.requester, to("nobody")).await;
        assert_eq!(nobody.unwrap_err(), RequestError::NoResponder);
        let large = Request::new("ask", vec![0; 2000]).unwrap();
        let error = call(&bench.requester, large).await.unwrap_err();
        assert!(matches!(error, RequestError::InvalidRequest(_)), "{error}");
        give_up_at_once(&bench.requester);
        settle().await;
        assert_eq!(bench.ask().await, Ok(()));
    }
}

/// The call is given up before its request can leave.
fn give_up_at_once(requester: &Requester) {
    let mut call = Box::pin(call(requester, to("lose")));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_range_that_is_not_of_one_width_is_refused() {
    for (first, last) in [(2, 1), (9, 10), (0, 10), (9_999, 65_535)] {
        let builder = Requester::builder(Network::new().link("asker")).dialect(ids(first, last));
        let error = builder.build().await.unwrap_err();
        assert!(matches!(error, ServeError::Configuration(_)), "{error}");
    }
    for (first, last) in [(0, 9), (5, 5), (10_000, 65_535)] {
        let builder = Requester::builder(Network::new().link("asker")).dialect(ids(first, last));
        builder.build().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn two_requesters_on_one_link_do_not_lend_ids_to_the_same_device() {
    let network = Network::new();
    let link = network.link("asker");
    let builder = |peers: &str| {
        Requester::builder(link.clone()).dialect(tencent::rrpc()).peers(filter(peers))
    };
    let first = builder("pk/+").build().await.unwrap();
    let error = builder("pk/dn").build().await.unwrap_err();
    assert!(matches!(&error, ServeError::Configuration(why) if why.contains("clone")), "{error}");
    let _other = builder("other/+").build().await.unwrap();
    drop(first);
    settle().await;
    let _again = builder("pk/dn").build().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requesters_on_one_link_leave_each_other_their_answers() {
    let network = Network::new();
    let link = network.link("asker");
    let router = Router::new()
        .route("pk/{device}", async |request: Request| request.topic().as_str().to_owned());
    let device = Responder::builder(network.link("device")).dialect(tencent::rrpc());
    let _device = device.serve(router).await.unwrap();
    let ids = IdFormat::Short { first: 10, last: 99, quarantine: QUARANTINE };
    let builder = |peers: &str| {
        let builder = Requester::builder(link.clone()).dialect(tencent::rrpc().ids(ids));
        builder.peers(filter(peers))
    };
    let (one, two) =
        (builder("pk/1").build().await.unwrap(), builder("pk/2").build().await.unwrap());
    for _ in 0..200 {
        assert_eq!(call(&one, to("pk/1")).await.unwrap().payload(), "pk/1");
        assert_eq!(call(&two, to("pk/2")).await.unwrap().payload(), "pk/2");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_a_peer_is_not_asked() {
    let network = Network::new();
    let requester = Requester::builder(network.link("asker")).dialect(tencent::rrpc());
    let requester = requester.peers(filter("pk/d1")).build().await.unwrap();
    let error = call(&requester, to("pk/d2")).await.unwrap_err();
    assert!(matches!(error, RequestError::InvalidRequest(_)), "{error}");
    assert_eq!(call(&requester, to("pk/d1")).await.unwrap_err(), RequestError::NoResponder);
}

/// Layers stamp a ULID; a dialect that carries text gets it as text.
#[tokio::test(start_paused = true)]
async fn a_retry_keeps_its_id_in_a_dialect_of_text() {
    let network = Network::new();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let topics = Arc::clone(&seen);
    network.on_message(move |message| {
        topics.lock().unwrap().push(message.topic.to_string());
        Fate::Lose
    });
    let never = Router::new().route("d1", async || std::future::pending::<()>().await);
    let device = Responder::builder(network.link("d1")).dialect(huawei_commands());
    let _device = device.serve(never).await.unwrap();
    let requester = Requester::builder(network.link("asker")).dialect(huawei_commands());
    let requester = requester.timeout(SECOND).build().await.unwrap();
    let retry = RetryLayer::new(RetryPolicy::default());
    let service = ServiceBuilder::new().layer(retry).service(requester);
    let error = service.oneshot(to("d1").idempotent()).await.unwrap_err();
    assert_eq!(error, RequestError::Timeout);
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 1 && seen.iter().all(|topic| *topic == seen[0]), "{seen:?}");
}
