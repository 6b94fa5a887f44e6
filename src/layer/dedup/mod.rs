//! Executes a request once, however often it arrives.
//!
//! A retry keeps its correlation data, a hedge sends twice, and a message at QoS 1 may be delivered
//! twice. [`DedupLayer`], on a responder, recognises the copies by (response topic, correlation
//! data):
//!
//! | a copy of | gets |
//! |---|---|
//! | a request in progress | the answer of the first copy, when it is there |
//! | a request that was answered | the same answer again; nothing is executed |
//! | a request with another topic or payload | 409 |
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
//! use tower::{Service, ServiceExt};
//! use tower_mqtt::layer::DedupLayer;
//! use tower_mqtt::link::memory::{Fate, Network};
//! use tower_mqtt::{Request, Requester, Responder, Router};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::new();
//! let brewed = Arc::new(AtomicU32::new(0));
//! let count = Arc::clone(&brewed);
//! let brew = async move || { count.fetch_add(1, Ordering::Relaxed); };
//! let router = Router::new().route("brew", brew).layer(DedupLayer::default());
//! let _responder = Responder::builder(network.link("kitchen")).serve(router).await?;
//!
//! network.on_message(|message| match message.topic.as_str() {
//!     "brew" => Fate::Repeat(3),
//!     _ => Fate::Deliver,
//! });
//! let requester = Requester::builder(network.link("machine")).build().await?;
//! requester.oneshot(Request::new("brew", "")?).await?;
//! assert_eq!(brewed.load(Ordering::Relaxed), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What counts as executed
//!
//! An execution that was cut short (its caller's deadline passed) or that panicked has been executed
//! in part, so it is remembered as well, and copies get 408 (500 after a panic): they are not
//! executed. Let an attempt take longer than the handler's own limit, or the caller cuts short what
//! it then cannot ask for again.
//!
//! Answers with 503 and 429 are forgotten: they say that the request was not executed and ask for
//! another attempt. Every other answer is remembered, failures too.
//!
//! # Several processes
//!
//! The memory is that of one process. Where several processes share a subscription (`$share`), the
//! broker may give a retry to another process than the first attempt, which executes it again; and
//! a process that is started again remembers nothing. Where that matters, share the memory: see
//! [`DedupStore`].

mod answer;
mod future;
mod memory;
mod store;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, mem};

use tower::{Layer, Service};

pub use self::future::ResponseFuture;
use self::future::{Settle, State};
use self::memory::{Entrance, Execution, Memory};
pub use self::store::{Claim, DedupStore, StoreFuture};
use super::Side;
pub use crate::core::inbox::InboxLimits;
use crate::message::{Request, Response};

/// Executes a request once, however often it arrives; the [module](self) says how.
///
/// Requests without correlation data or response topic pass: nothing tells them apart.
///
/// The memory belongs to the layer. What is wrapped by one layer and its clones (all routes of a
/// router) shares it.
///
/// # When it is full
///
/// The oldest answers are forgotten first. When requests in progress alone fill it, or too many
/// copies wait for one, a request is answered with 503; a request in progress is never forgotten.
/// An answer too large to be remembered is given to the copies that wait, and not remembered.
/// Answers are copied, so that no other memory is held with them.
///
/// Old answers go when requests come; a layer that gets none keeps what it has, within its limits.
///
/// # Where to put it
///
/// Inside what authorizes, so that a stranger cannot ask for the answers of others; outside limits
/// and timeouts that protect the handler, so that copies cost nothing there.
#[derive(Clone)]
pub struct DedupLayer {
    memory: Arc<Memory>,
    store: Option<Arc<dyn DedupStore>>,
}

impl DedupLayer {
    /// Remembers as much as `limits` allows.
    pub fn new(limits: InboxLimits) -> Self {
        Self { memory: Arc::new(Memory::new(limits)), store: None }
    }

    /// Asks a store outside the process as well, before each execution.
    pub fn store(mut self, store: impl DedupStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// How many requests are remembered, in progress and answered.
    pub fn remembered(&self) -> usize {
        self.memory.lock().len()
    }

    /// How many bytes they take, as [`InboxLimits::bytes`] counts them.
    pub fn remembered_bytes(&self) -> usize {
        self.memory.lock().bytes()
    }
}

impl Default for DedupLayer {
    /// With the default [`InboxLimits`]: 65,536 requests, 16 MiB, 5 minutes.
    fn default() -> Self {
        Self::new(InboxLimits::default())
    }
}

impl fmt::Debug for DedupLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupLayer").field("memory", &*self.memory.lock()).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for DedupLayer {
    type Service = Dedup<S>;

    fn layer(&self, inner: S) -> Dedup<S> {
        Dedup { inner, layer: self.clone() }
    }
}

/// The service of a [`DedupLayer`].
#[derive(Debug, Clone)]
pub struct Dedup<S> {
    inner: S,
    layer: DedupLayer,
}

impl<S> Service<Request> for Dedup<S>
where
    S: Service<Request, Response = Response> + Clone,
    S::Error: Side,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let state = match Memory::admit(&self.layer.memory, &request) {
            Entrance::Pass => State::Passing { inner: self.inner.call(request) },
            Entrance::Done(result) => State::Done { result: Some(result) },
            Entrance::Wait(answer) => State::Waiting { answer },
            Entrance::Execute(execution) => self.execute(request, execution),
        };
        ResponseFuture { state }
    }
}

impl<S> Dedup<S>
where
    S: Service<Request, Response = Response> + Clone,
{
    fn execute(&mut self, request: Request, execution: Execution) -> State<S, S::Future> {
        let execution = Some(execution);
        let Some(store) = &self.layer.store else {
            return State::Executing { inner: self.inner.call(request), execution, settle: None };
        };
        let claim = store.claim(&request);
        // The one that is ready is called later, and a clone takes its place.
        let clone = self.inner.clone();
        let service = mem::replace(&mut self.inner, clone);
        let settle = Settle { store: Arc::clone(store), request };
        State::Claiming { claim, next: Some(Box::new((service, settle))), execution }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::sync::oneshot;
    use tokio::time::advance;
    use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
    use tower::{ServiceExt, service_fn};

    use super::super::mock::{
        Handle, at_once, code, keeps_the_contract, ms, request, responder, start,
    };
    use super::*;
    use crate::message::Status;

    async fn respond(handle: &mut Handle, response: Response) {
        handle.next_request().await.unwrap().1.send_response(response);
    }

    fn limits() -> InboxLimits {
        InboxLimits { entries: 2, bytes: 10_000, age: ms(100), joined: 2 }
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract() {
        keeps_the_contract(DedupLayer::default()).await;
    }

    #[tokio::test]
    async fn copies_share_one_execution_and_its_answer() {
        let (mut service, mut handle) = responder(&DedupLayer::default());
        let mut first = start(&mut service, request("1"));
        let mut second = start(&mut service.clone(), request("1"));
        respond(&mut handle, Response::new("miso").with_user_property("a", "b")).await;
        assert_pending!(second.poll());
        assert_eq!(assert_ready_ok!(first.poll()).payload(), "miso");
        assert!(second.is_woken());
        let third = at_once(&mut service, request("1")).unwrap();
        for copy in [assert_ready_ok!(second.poll()), third] {
            assert_eq!(copy.payload(), "miso");
            assert_eq!(copy.user_properties().get("a"), Some("b"));
        }
        assert!(handle.poll_request().is_pending(), "executed once");
    }

    #[tokio::test]
    async fn another_request_with_the_same_key_is_refused_but_credentials_may_differ() {
        let (mut service, mut handle) = responder(&DedupLayer::default());
        let mut first = start(&mut service, request("1").with_user_property("signature", "x"));
        let mut other = request("1");
        other = Request::from_parts(other.into_parts().0, "another payload".into());
        assert_eq!(code(at_once(&mut service, other)), 409);
        let mut again = start(&mut service, request("1").with_user_property("signature", "y"));
        respond(&mut handle, Response::new("miso")).await;
        assert_ready_ok!(first.poll());
        assert_eq!(assert_ready_ok!(again.poll()).payload(), "miso");
    }

    #[tokio::test]
    async fn what_cannot_be_told_apart_passes() {
        let layer = DedupLayer::default();
        let (mut service, mut handle) = responder(&layer);
        let plain = || Request::new("a", "").unwrap();
        for request in [plain(), plain(), plain().correlation_data("1")] {
            let mut call = start(&mut service, request);
            respond(&mut handle, Response::default()).await;
            assert_ready_ok!(call.poll());
        }
        assert_eq!(layer.remembered(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_asks_for_another_attempt_is_not_repeated() {
        let layer = DedupLayer::default();
        let (mut service, mut handle) = responder(&layer);
        for status in [503, 429, 500] {
            let mut call = start(&mut service, request("1"));
            let mut copy = start(&mut service, request("1"));
            respond(&mut handle, Response::error(status)).await;
            assert_eq!(code(assert_ready!(call.poll())), status);
            assert_eq!(code(assert_ready!(copy.poll())), status, "who waited gets it all the same");
        }
        assert_eq!(code(at_once(&mut service, request("1"))), 500);
        assert_eq!(layer.remembered(), 1);
    }

    #[tokio::test]
    async fn an_execution_that_is_cut_short_is_not_executed_again() {
        let (mut service, mut handle) = responder(&DedupLayer::default());
        let first = start(&mut service, request("1"));
        let mut waits = start(&mut service, request("1"));
        handle.next_request().await.unwrap();
        drop(first);
        assert_eq!(code(assert_ready!(waits.poll())), 408);
        assert_eq!(code(at_once(&mut service, request("1"))), 408);
    }

    #[tokio::test]
    async fn a_panic_is_told_to_those_who_wait() {
        let (go, gone) = oneshot::channel::<()>();
        let gone = Arc::new(Mutex::new(Some(gone)));
        let mut service = DedupLayer::default().layer(service_fn(move |_| {
            let gone = gone.lock().unwrap().take();
            async move {
                let _ = gone.expect("executed once").await;
                panic!("on purpose");
                #[expect(unreachable_code, reason = "gives the closure its type")]
                Ok::<_, Infallible>(Response::default())
            }
        }));
        let first = start(&mut service, request("1"));
        let mut waits = start(&mut service, request("1"));
        go.send(()).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut first = first;
            let _ = first.poll();
        }));
        assert!(panicked.is_err());
        assert_eq!(code(assert_ready!(waits.poll())), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_live_entries_are_never_forgotten() {
        let layer = DedupLayer::new(limits());
        let (mut service, mut handle) = responder(&layer);
        let ids = ["1", "2", "3"];
        let mut live = [start(&mut service, request(ids[0])), start(&mut service, request(ids[1]))];
        assert_eq!(code(at_once(&mut service, request(ids[2]))), 503);
        let _joined = [start(&mut service, request(ids[0])), start(&mut service, request(ids[0]))];
        assert_eq!(code(at_once(&mut service, request(ids[0]))), 503);
        for call in &mut live {
            respond(&mut handle, Response::default()).await;
            assert_ready_ok!(call.poll());
        }
        let _third = start(&mut service, request(ids[2]));
        assert_eq!(layer.remembered(), 2, "the oldest answer made room");
        at_once(&mut service, request(ids[1])).unwrap();
        advance(ms(101)).await;
        drop(start(&mut service, request(ids[2])));
        assert_eq!(layer.remembered(), 1, "answers age");
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_held_for_nothing_else() {
        let layer = DedupLayer::new(InboxLimits { entries: 1000, ..limits() });
        let (mut service, mut handle) = responder(&layer);
        let big = Bytes::from(vec![7; 1 << 20]);
        for number in 0..100_u8 {
            let mut request = request("");
            request.parts_mut().correlation_data = Some(Bytes::copy_from_slice(&[number]));
            let mut call = start(&mut service, request);
            respond(&mut handle, Response::new(big.slice(..1000))).await;
            assert_ready_ok!(call.poll());
            assert!(layer.remembered_bytes() <= 10_000);
        }
        assert!((5..10).contains(&layer.remembered()), "{}", layer.remembered());
        assert!(big.is_unique(), "the answers are copies");
        let mut call = start(&mut service, request("big"));
        respond(&mut handle, Response::new(big)).await;
        assert_eq!(assert_ready_ok!(call.poll()).payload().len(), 1 << 20);
        let _again = start(&mut service, request("big"));
        assert!(handle.poll_request().is_ready(), "too large to be remembered");
    }

    /// A store that several layers share, as processes would; each of its answers takes a while.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<HashMap<Bytes, Option<Response>>>>);

    impl DedupStore for Shared {
        fn claim(&self, request: &Request) -> StoreFuture<Claim> {
            let (table, id) = (self.0.clone(), request.parts().correlation_data.clone().unwrap());
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                match table.lock().unwrap().insert(id.clone(), None) {
                    None => Claim::Execute,
                    Some(None) => Claim::Refuse(Status::UNAVAILABLE),
                    Some(Some(answer)) => Claim::Answered(answer),
                }
            })
        }

        fn settle(&self, request: &Request, answer: &Response) -> StoreFuture<()> {
            let id = request.parts().correlation_data.clone().unwrap();
            let (table, answer) = (self.0.clone(), answer.clone());
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                table.lock().unwrap().insert(id, Some(answer));
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn processes_share_a_store() {
        let store = Shared::default();
        let (mut one, mut handle) = responder(&DedupLayer::default().store(store.clone()));
        let (mut two, mut unused) = responder(&DedupLayer::default().store(store));
        let first = tokio::spawn(one.ready().await.unwrap().call(request("1")));
        let (_, send) = handle.next_request().await.unwrap();
        let busy = two.ready().await.unwrap().call(request("1")).await;
        assert_eq!(code(busy), 503, "in progress elsewhere");
        let joined = tokio::spawn(one.ready().await.unwrap().call(request("1")));
        send.send_response(Response::new("miso"));
        assert_eq!(first.await.unwrap().unwrap().payload(), "miso");
        assert_eq!(joined.await.unwrap().unwrap().payload(), "miso");
        assert!(unused.poll_request().is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_knows_the_answer_gives_it() {
        let store = Shared::default();
        store.0.lock().unwrap().insert("1".into(), Some(Response::new("from before")));
        let layer = DedupLayer::default().store(store);
        let (mut service, mut handle) = responder(&layer);
        let answer = service.ready().await.unwrap().call(request("1")).await.unwrap();
        assert_eq!(answer.payload(), "from before");
        assert!(handle.poll_request().is_pending());
        assert_eq!(layer.remembered(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_store_the_service_that_was_ready_is_the_one_that_is_called() {
        let (mut service, mut handle) = responder(&DedupLayer::default().store(Shared::default()));
        let call = tokio::spawn(service.ready().await.unwrap().call(request("1")));
        assert_ready_ok!(task::spawn(service.ready()).poll().map_ok(|_| ()));
        respond(&mut handle, Response::new("miso")).await;
        assert_eq!(call.await.unwrap().unwrap().payload(), "miso");
    }
}
