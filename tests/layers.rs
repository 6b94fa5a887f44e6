//! Layers end to end over the in-memory network, and mixed with tower's own.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::hedge::{Hedge, Policy};
use tower::util::{BoxCloneService, BoxCloneSyncService};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_mqtt::core::packet::Message;
use tower_mqtt::layer::dedup::{Claim, DedupStore, InboxLimits, StoreFuture};
use tower_mqtt::layer::retry::RetryPolicy;
use tower_mqtt::layer::{
    CatchPanicLayer, ConcurrencyLimitLayer, DedupLayer, PayloadLimitLayer, RateLimitLayer,
    RetryLayer, TimeoutLayer,
};
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::responder::HandleErrorLayer;
use tower_mqtt::responder::extract::State;
use tower_mqtt::{Request, RequestError, Requester, Responder, Response, Router, Status};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn is_answer(message: &Message) -> bool {
    message.topic.as_str().ends_with("/responses")
}

fn brew() -> Request {
    Request::new("brew", "miso").unwrap()
}

/// A router whose only handler counts how often it is executed.
fn kitchen(executed: &Arc<AtomicU32>) -> Router {
    let executed = Arc::clone(executed);
    let brew = async move || {
        let count = executed.fetch_add(1, Ordering::Relaxed) + 1;
        format!("pot {count}")
    };
    Router::new().route("brew", brew)
}

async fn requester(network: &Network) -> Requester {
    Requester::builder(network.link("machine")).build().await.unwrap()
}

/// Retries over a responder that deduplicates, 10 s in all and 50 ms for each attempt.
fn patient(
    requester: Requester,
) -> impl Service<Request, Response = Response, Error = RequestError, Future: Send> + Clone + Send + Sync
{
    let policy = RetryPolicy::default().max_attempts(100).backoff(ms(5), ms(20));
    ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(10)))
        .layer(RetryLayer::new(policy.responder_deduplicates()))
        .layer(TimeoutLayer::new(ms(50)))
        .service(requester)
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_retried_and_executed_once() {
    let (network, executed) = (Network::new(), Arc::default());
    let router = kitchen(&executed).layer(DedupLayer::default());
    let _responder = Responder::builder(network.link("kitchen")).serve(router).await.unwrap();
    let client = patient(requester(&network).await);

    let requests = Arc::new(Mutex::new(Vec::new()));
    let (seen, mut first) = (Arc::clone(&requests), true);
    network.on_message(move |message| {
        if is_answer(message) {
            return if std::mem::take(&mut first) { Fate::Lose } else { Fate::Deliver };
        }
        let properties = &message.properties;
        let attempt = properties.user.get("attempt").map(str::to_owned);
        seen.lock().unwrap().push((properties.correlation_data.clone(), attempt));
        Fate::Deliver
    });
    let response = client.oneshot(brew()).await.unwrap();
    assert_eq!(response.payload(), "pot 1");
    assert_eq!(executed.load(Ordering::Relaxed), 1);
    let requests = requests.lock().unwrap();
    let (ids, attempts): (Vec<_>, Vec<_>) = requests.iter().cloned().unzip();
    assert_eq!(attempts, [None, Some("2".to_owned())]);
    assert!(ids[0].is_some() && ids[0] == ids[1], "{ids:?}");
}

/// A store that outlives the responders.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<HashMap<Bytes, Option<Response>>>>);

impl DedupStore for Table {
    fn claim(&self, request: &Request) -> StoreFuture<Claim> {
        let id = request.parts().correlation_data.clone().unwrap();
        let claim = match self.0.lock().unwrap().insert(id, None) {
            None => Claim::Execute,
            Some(Some(answer)) => Claim::Answered(answer),
            Some(None) => Claim::Refuse(Status::UNAVAILABLE),
        };
        Box::pin(std::future::ready(claim))
    }

    fn settle(&self, request: &Request, answer: &Response) -> StoreFuture<()> {
        let id = request.parts().correlation_data.clone().unwrap();
        self.0.lock().unwrap().insert(id, Some(answer.clone()));
        Box::pin(std::future::ready(()))
    }
}

/// A responder executes and is gone before its answer leaves; another one takes its place. How often
/// was it executed, and with what answer?
async fn killed_between_execution_and_answer(make_dedup: impl Fn() -> DedupLayer) -> (u32, Bytes) {
    let (network, executed) = (Network::new(), Arc::default());
    let router = || kitchen(&executed).layer(make_dedup());
    let first = Responder::builder(network.link("kitchen-1")).serve(router()).await.unwrap();
    let client = patient(requester(&network).await);

    let answered = Arc::new(Notify::new());
    let (notify, mut killed) = (Arc::clone(&answered), false);
    network.on_message(move |message| {
        if is_answer(message) && !std::mem::replace(&mut killed, true) {
            notify.notify_one();
            return Fate::Lose;
        }
        Fate::Deliver
    });
    let call = tokio::spawn(client.oneshot(brew()));
    answered.notified().await;
    network.disconnect("kitchen-1");
    drop(first);
    let _second = Responder::builder(network.link("kitchen-2")).serve(router()).await.unwrap();
    let response = call.await.unwrap().unwrap();
    (executed.load(Ordering::Relaxed), response.into_payload())
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_one_process_dies_with_it() {
    let ended = killed_between_execution_and_answer(DedupLayer::default).await;
    assert_eq!(ended, (2, "pot 2".into()));
}

#[tokio::test(start_paused = true)]
async fn a_store_outside_the_process_does_not() {
    let table = Table::default();
    let ended =
        killed_between_execution_and_answer(|| DedupLayer::default().store(table.clone())).await;
    assert_eq!(ended, (1, "pot 1".into()));
}

#[tokio::test]
async fn a_hundred_thousand_duplicates_leave_the_memory_flat() {
    let (network, executed) = (Network::new(), Arc::default());
    let dedup = DedupLayer::new(InboxLimits { entries: 10, ..InboxLimits::default() });
    let router = kitchen(&executed).layer(dedup.clone());
    let _responder = Responder::builder(network.link("kitchen"))
        .concurrency(10_000)
        .serve(router)
        .await
        .unwrap();
    let requester = requester(&network).await;
    let (answers, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, notify) = (Arc::clone(&answers), Arc::clone(&all));
    network.on_message(move |message| {
        if is_answer(message) {
            if (counted.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(2000) {
                notify.notify_one();
            }
            return Fate::Deliver;
        }
        Fate::Repeat(2000)
    });
    for _ in 0..50 {
        let response = requester.clone().oneshot(brew()).await.unwrap();
        assert!(response.status().is_success(), "{}", response.status());
        all.notified().await;
        assert!(dedup.remembered() <= 10 && dedup.remembered_bytes() < 1000);
    }
    assert_eq!(executed.load(Ordering::Relaxed), 50);
    assert_eq!(answers.load(Ordering::Relaxed), 100_000);
}

#[tokio::test(start_paused = true)]
async fn towers_layers_sit_over_ours() {
    let (network, executed) = (Network::new(), Arc::default());
    let _responder =
        Responder::builder(network.link("kitchen")).serve(kitchen(&executed)).await.unwrap();
    let mut client = ServiceBuilder::new()
        .buffer::<Request>(16)
        .rate_limit(100, Duration::from_secs(1))
        .load_shed()
        .concurrency_limit(1)
        .layer(TimeoutLayer::new(Duration::from_secs(2)))
        .layer(RetryLayer::new(RetryPolicy::default()))
        .service(requester(&network).await);
    let response = client.ready().await.unwrap().call(brew()).await.unwrap();
    assert_eq!(response.payload(), "pot 1");

    network.on_message(|_| Fate::Lose);
    let waits = tokio::spawn(client.ready().await.unwrap().call(brew()));
    let shed = client.ready().await.unwrap().call(brew()).await.unwrap_err();
    assert_eq!(RequestError::from(shed), RequestError::Overloaded);
    assert_eq!(RequestError::from(waits.await.unwrap().unwrap_err()), RequestError::Timeout);
}

#[tokio::test(start_paused = true)]
async fn towers_layers_sit_under_ours() {
    let (network, executed) = (Network::new(), Arc::default());
    let _responder =
        Responder::builder(network.link("kitchen")).serve(kitchen(&executed)).await.unwrap();
    let client = ServiceBuilder::new()
        .map_err(RequestError::from)
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(2)))
        .layer(RetryLayer::new(RetryPolicy::default().max_attempts(20).backoff(ms(10), ms(10))))
        .layer(ConcurrencyLimitLayer::new(10))
        .layer(RateLimitLayer::new(100, Duration::from_secs(1)))
        .layer(PayloadLimitLayer::new(100))
        .layer(TimeoutLayer::new(ms(100)))
        .buffer::<Request>(16)
        .rate_limit(100, Duration::from_secs(1))
        .load_shed()
        .concurrency_limit(1)
        .service(requester(&network).await);

    // The second of two calls is shed below; the retry sees that it was not delivered.
    network
        .on_message(|message| if is_answer(message) { Fate::Delay(ms(2)) } else { Fate::Deliver });
    let (one, two) = tokio::join!(client.clone().oneshot(brew()), client.clone().oneshot(brew()));
    one.unwrap();
    two.unwrap();

    network.on_message(|_| Fate::Lose);
    assert_eq!(client.clone().oneshot(brew()).await.unwrap_err(), RequestError::Timeout);
    let large = Request::new("brew", vec![0; 101]).unwrap();
    let RequestError::Refused(status) = client.oneshot(large).await.unwrap_err() else {
        panic!("not refused");
    };
    assert_eq!(status.code(), 413);
}

/// Sends everything twice when the first attempt takes long.
#[derive(Clone)]
struct Twice;

impl Policy<Request> for Twice {
    fn clone_request(&self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }

    fn can_retry(&self, _: &Request) -> bool {
        true
    }
}

fn hedge<S>(service: S) -> Hedge<S, Twice>
where
    S: Service<Request> + Clone,
    S::Error: Into<BoxError>,
{
    Hedge::new(service, Twice, 1, 0.9, Duration::from_secs(1))
}

/// What became of one call that was hedged, and answered once.
#[derive(Debug, PartialEq, Eq)]
struct Hedged {
    /// Requests on the wire, and how many ids they have.
    sent: usize,
    ids: usize,
    executed: u32,
    /// Attempts that got an answer: one answer ends all attempts that have its id.
    answered: u64,
    /// Answers that came after that: to an attempt that was given up, or to one that was answered.
    late: u64,
    duplicate: u64,
}

const ONE_REQUEST: Hedged =
    Hedged { sent: 2, ids: 1, executed: 1, answered: 2, late: 0, duplicate: 1 };

/// Makes calls until the hedge knows how long an answer takes, and one whose first answer is late.
async fn hedged<S>(stack: impl FnOnce(Requester) -> S, request: impl Fn() -> Request) -> Hedged
where
    S: Service<Request, Response = Response, Error: Debug>,
{
    let (network, executed) = (Network::new(), Arc::default());
    let router = kitchen(&executed).layer(DedupLayer::default());
    let _responder = Responder::builder(network.link("kitchen")).serve(router).await.unwrap();
    let requester = requester(&network).await;
    let mut client = stack(requester.clone());
    network
        .on_message(|message| if is_answer(message) { Fate::Delay(ms(10)) } else { Fate::Deliver });
    for _ in 0..10 {
        client.ready().await.unwrap().call(brew()).await.unwrap();
        tokio::time::advance(ms(500)).await;
    }
    let (executed_before, before) = (executed.load(Ordering::Relaxed), requester.stats());
    let ids = Arc::new(Mutex::new(Vec::new()));
    let (seen, mut first) = (Arc::clone(&ids), true);
    network.on_message(move |message| {
        if is_answer(message) {
            return if std::mem::take(&mut first) { Fate::Delay(ms(500)) } else { Fate::Deliver };
        }
        seen.lock().unwrap().push(message.properties.correlation_data.clone().unwrap());
        Fate::Deliver
    });
    let begun = Instant::now();
    client.ready().await.unwrap().call(request()).await.unwrap();
    assert!(begun.elapsed() < ms(500), "the second attempt was answered first");
    tokio::time::sleep_until(begun + ms(600)).await;
    let (ids, stats) = (ids.lock().unwrap(), requester.stats());
    Hedged {
        sent: ids.len(),
        ids: ids.iter().collect::<HashSet<_>>().len(),
        executed: executed.load(Ordering::Relaxed) - executed_before,
        answered: stats.answered - before.answered,
        late: stats.late - before.late,
        duplicate: stats.duplicate - before.duplicate,
    }
}

#[tokio::test(start_paused = true)]
async fn the_two_attempts_of_a_hedge_inside_are_one_request() {
    let stack = |requester| {
        ServiceBuilder::new()
            .layer(TimeoutLayer::new(Duration::from_secs(2)))
            .layer(RetryLayer::new(RetryPolicy::default().max_attempts(1)))
            .buffer::<Request>(16)
            .layer_fn(hedge)
            .service(requester)
    };
    let ended = hedged(stack, brew).await;
    assert_eq!(ended, ONE_REQUEST);
}

/// A hedge around the layers.
fn outside(requester: Requester) -> impl Service<Request, Response = Response, Error = BoxError> {
    ServiceBuilder::new()
        .layer_fn(hedge)
        .layer(TimeoutLayer::new(Duration::from_secs(2)))
        .layer(RetryLayer::new(RetryPolicy::default().max_attempts(1)))
        .service(requester)
}

#[tokio::test(start_paused = true)]
async fn the_two_attempts_of_a_hedge_outside_are_two_requests() {
    let ended = hedged(outside, brew).await;
    let two = Hedged { sent: 2, ids: 2, executed: 2, answered: 1, late: 1, duplicate: 0 };
    assert_eq!(ended, two);
}

#[tokio::test(start_paused = true)]
async fn the_two_attempts_of_a_hedge_outside_are_one_request_when_the_caller_names_it() {
    let ended = hedged(outside, || brew().correlation_data("order 7")).await;
    assert_eq!(ended, ONE_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn layers_that_fail_sit_on_a_router_under_handle_error() {
    let network = Network::new();
    let slow = async || tokio::time::sleep(ms(100)).await;
    let router = Router::new().route("heat", slow).layer(
        ServiceBuilder::new()
            .layer(CatchPanicLayer::new())
            .layer(DedupLayer::default())
            .layer(HandleErrorLayer::default())
            .layer(TimeoutLayer::new(Duration::from_secs(1)))
            .buffer::<Request>(16)
            .load_shed()
            .concurrency_limit(1)
            .timeout(ms(50)),
    );
    let _responder = Responder::builder(network.link("kitchen")).serve(router).await.unwrap();
    let mut requester = requester(&network).await;
    let heat = || Request::new("heat", "").unwrap();
    let first = requester.ready().await.unwrap().call(heat());
    let second = requester.ready().await.unwrap().call(heat());
    let (first, second) = tokio::join!(first, second);
    assert_eq!(second.unwrap().status().to_string(), "503 unavailable: too busy");
    assert_eq!(first.unwrap().status().to_string(), "408 timeout");
}

type Client = BoxCloneSyncService<Request, Response, RequestError>;

/// Makes a call of its own.
async fn order(State(client): State<Client>) -> Result<Response, RequestError> {
    client.oneshot(brew()).await
}

/// A router under all layers that have a responder's side.
fn layered(
    router: Router,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync
{
    ServiceBuilder::new()
        .layer(CatchPanicLayer::new())
        .layer(ConcurrencyLimitLayer::new(100))
        .layer(RateLimitLayer::new(100, Duration::from_secs(1)))
        .layer(PayloadLimitLayer::new(1000))
        .layer(DedupLayer::default())
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(RetryLayer::new(RetryPolicy::default()))
        .service(router)
}

#[tokio::test(start_paused = true)]
async fn box_clone_sync_service_holds_the_stack_on_both_sides() {
    let (network, executed) = (Network::new(), Arc::default());
    let service: BoxCloneSyncService<Request, Response, Infallible> =
        BoxCloneSyncService::new(layered(kitchen(&executed)));
    let _responder = Responder::builder(network.link("kitchen"))
        .serve_service(["brew".parse().unwrap()], service)
        .await
        .unwrap();

    // As the state of a handler.
    let client = Client::new(patient(requester(&network).await));
    let router = Router::new().route("order", order).with_state(client);
    let _counter = Responder::builder(network.link("counter")).serve(router).await.unwrap();
    let guest = Requester::builder(network.link("guest")).build().await.unwrap();
    let response = guest.oneshot(Request::new("order", "").unwrap()).await.unwrap();
    assert_eq!(response.payload(), "pot 1");
}

#[tokio::test(start_paused = true)]
async fn box_clone_service_holds_the_stack_on_both_sides() {
    let (network, executed) = (Network::new(), Arc::default());
    let service: BoxCloneService<Request, Response, Infallible> =
        BoxCloneService::new(layered(kitchen(&executed)));
    let _responder = Responder::builder(network.link("kitchen"))
        .serve_service(["brew".parse().unwrap()], service)
        .await
        .unwrap();

    let client: BoxCloneService<Request, Response, RequestError> =
        BoxCloneService::new(patient(requester(&network).await));
    let another = tokio::spawn(client.clone().oneshot(brew()));
    assert_eq!(client.oneshot(brew()).await.unwrap().payload(), "pot 1");
    assert_eq!(another.await.unwrap().unwrap().payload(), "pot 2");
}
