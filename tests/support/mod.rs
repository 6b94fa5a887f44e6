//! What the tests share.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses its part")]

mod echo_topic;
mod verbatim;

use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tower::ServiceExt;
use tower_mqtt::core::topic::{TopicFilter, TopicName};
use tower_mqtt::dialect::{
    Dialect, IdFormat, IncomingRequest, Malformed, Message, Native, OutgoingRequest, ReplyTo,
    Subscription,
};
use tower_mqtt::link::memory::Network;
use tower_mqtt::{InvalidRequest, Request, RequestError, Requester, Responder, Response, Router};

pub use self::echo_topic::EchoTopic;
use self::verbatim::{Verbatim, carrying};

pub const SECOND: Duration = Duration::from_secs(1);

/// The network, a requester on `asker` and a responder on `answerer`.
pub async fn ask_and_answer(router: Router) -> (Network, Requester, Responder) {
    let network = Network::new();
    let responder = Responder::builder(network.link("answerer")).serve(router).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    (network, requester, responder)
}

/// A request without a payload.
pub fn to(topic: &str) -> Request {
    Request::new(topic, "").unwrap()
}

pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub fn filter(filter: &str) -> TopicFilter {
    TopicFilter::new(filter).unwrap()
}

/// Calls on a clone, so that one requester serves a whole test.
pub fn call(
    requester: &Requester,
    request: Request,
) -> impl Future<Output = Result<Response, RequestError>> + Send + 'static {
    requester.clone().oneshot(request)
}

/// Starts a call and lets it come as far as it can.
pub async fn start(
    requester: &Requester,
    request: Request,
) -> tokio::task::JoinHandle<Result<Response, RequestError>> {
    let task = tokio::spawn(call(requester, request));
    settle().await;
    task
}

/// The code of the answer's status.
pub async fn status(requester: &Requester, request: Request) -> u16 {
    call(requester, request).await.unwrap().status().code()
}

/// Lets every other task run until it waits. Time that is paused stands still.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Waits for what other tasks bring about.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1_000_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never: {what}");
}

/// How much virtual time passes while the future runs.
pub async fn timed<T>(future: impl Future<Output = T>) -> (Duration, T) {
    let start = tokio::time::Instant::now();
    let output = future.await;
    (start.elapsed(), output)
}

/// Counts how many of it exist.
#[derive(Debug)]
pub struct Alive(Arc<AtomicUsize>);

impl Alive {
    pub fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The native dialect with something changed: on the wire, or in what it allows.
#[derive(Debug, Clone)]
pub struct Altered {
    pub request: fn(&mut Message),
    pub response: fn(&mut Message),
    pub ids: IdFormat,
    pub timeouts: RangeInclusive<Duration>,
}

impl Altered {
    pub fn new() -> Self {
        let timeouts = Native::new().timeouts();
        Self { request: |_| {}, response: |_| {}, ids: IdFormat::Ulid, timeouts }
    }

    pub fn request(request: fn(&mut Message)) -> Self {
        Self { request, ..Self::new() }
    }

    pub fn response(response: fn(&mut Message)) -> Self {
        Self { response, ..Self::new() }
    }

    pub fn ids(ids: IdFormat) -> Self {
        Self { ids, ..Self::new() }
    }

    pub fn timeouts(timeouts: RangeInclusive<Duration>) -> Self {
        Self { timeouts, ..Self::new() }
    }
}

impl Dialect for Altered {
    fn name(&self) -> &'static str {
        "altered"
    }

    fn id_format(&self) -> IdFormat {
        self.ids
    }

    fn timeouts(&self) -> RangeInclusive<Duration> {
        self.timeouts.clone()
    }

    fn response_subscription(
        &self,
        response_topic: &TopicName,
        peers: &TopicFilter,
    ) -> Option<Subscription> {
        Native::new().response_subscription(response_topic, peers)
    }

    fn encode_request(&self, outgoing: OutgoingRequest<'_>) -> Result<Message, InvalidRequest> {
        let mut message = Native::new().encode_request(outgoing)?;
        (self.request)(&mut message);
        Ok(message)
    }

    fn response_key(&self, message: &Message, response_topic: &TopicName) -> Option<Bytes> {
        Native::new().response_key(message, response_topic)
    }

    fn decode_response(&self, message: Message) -> Result<Response, Malformed> {
        Native::new().decode_response(message)
    }

    fn decode_request(&self, message: Message) -> Result<IncomingRequest, Malformed> {
        Native::new().decode_request(message)
    }

    fn encode_response(
        &self,
        reply_to: &ReplyTo,
        response: Response,
        left: Option<Duration>,
    ) -> Result<Message, Malformed> {
        let mut message = Native::new().encode_response(reply_to, response, left)?;
        (self.response)(&mut message);
        Ok(message)
    }
}

/// Publishes a message as it is, from a client of its own.
pub async fn publish(network: &Network, message: Message) {
    let link = network.link("publisher");
    let requester = Requester::builder(link).dialect(Verbatim).build().await.unwrap();
    let _call = start(&requester, carrying(message)).await;
}
