//! Asks again when that is safe.
//!
//! Whether it is safe is not guessed from the kind of error but read from
//! [`RequestError::delivery`]:
//!
//! | outcome of an attempt | asked again |
//! |---|---|
//! | error, [`NotDelivered`](Delivery::NotDelivered) | yes: nobody has executed it |
//! | answer or refusal with 503 or 429 | yes: who says so asks for it |
//! | error, [`Unknown`](Delivery::Unknown) | only a request that is [`idempotent`](Request::idempotent), or when the [responder deduplicates](RetryPolicy::responder_deduplicates) |
//! | any other answer or refusal; [`InvalidRequest`](RequestError::InvalidRequest); [`Closed`](RequestError::Closed) | no: it would end the same way |
//!
//! All attempts carry the same correlation data. A responder with [dedup](super::dedup) therefore
//! executes the request once, and a late answer to the first attempt completes the second.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mqtt::layer::{DedupLayer, RetryLayer, TimeoutLayer, retry::RetryPolicy};
//! use tower_mqtt::link::memory::{Fate, Network};
//! use tower_mqtt::{Request, Requester, Responder, Router};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::new();
//! let router = Router::new().route("brew", async || "brewed once").layer(DedupLayer::default());
//! let _responder = Responder::builder(network.link("kitchen")).serve(router).await?;
//!
//! let requester = Requester::builder(network.link("machine")).build().await?;
//! let mut client = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(2))) // all attempts together
//!     .layer(RetryLayer::new(RetryPolicy::default().responder_deduplicates()))
//!     .layer(TimeoutLayer::new(Duration::from_millis(50))) // each attempt
//!     .service(requester);
//!
//! let mut first = true;
//! network.on_message(move |message| {
//!     let answer = message.topic.as_str().ends_with("/responses");
//!     if answer && std::mem::take(&mut first) { Fate::Lose } else { Fate::Deliver }
//! });
//! let response = client.ready().await?.call(Request::new("brew", "")?).await?;
//! assert_eq!(response.payload(), "brewed once");
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::retry::budget::{Budget, TpsBudget};
use tower::util::rng::{HasherRng, Rng};
use tower::{Layer, Service};

use super::timeout::{self, fix_deadline};
use super::{LONGEST, Side, invites_retry, now};
use crate::error::{Delivery, RequestError};
use crate::id;
use crate::message::{Request, Response};

/// The user property that tells the responder which attempt it sees. Absent on the first.
const ATTEMPT: &str = "attempt";

/// When and how often to ask again.
///
/// ```
/// use std::time::Duration;
/// use tower_mqtt::layer::retry::RetryPolicy;
///
/// let policy = RetryPolicy::default()
///     .max_attempts(5)
///     .backoff(Duration::from_millis(20), Duration::from_secs(1))
///     .responder_deduplicates();
/// # let _ = policy;
/// ```
#[derive(Clone)]
pub struct RetryPolicy {
    max_attempts: u32,
    backoff_base: Duration,
    backoff_max: Duration,
    budget: Arc<dyn Budget + Send + Sync>,
    deduplicates: bool,
}

impl Default for RetryPolicy {
    /// Three attempts, back-off from 100 ms up to 5 s, tower's default budget, and nothing assumed
    /// of the responder. Each method says why.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff_base: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            budget: Arc::new(TpsBudget::default()),
            deduplicates: false,
        }
    }
}

impl RetryPolicy {
    /// How many attempts there are at most, the first one included; at least 1.
    ///
    /// 3 by default: two lost messages in a row are rare, and more attempts mostly add load when
    /// something is down. With 1 nothing is asked again, but the request gets its correlation data
    /// here: what a [hedge](tower::hedge) inside needs, so that its two attempts are one request.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// How long to wait before attempt n + 1: a random time between nothing and `base` · 2ⁿ⁻¹, and
    /// never more than `max` (full jitter).
    ///
    /// 100 ms and 5 s by default: about a round trip over a mobile network, and about as long as a
    /// broker takes to come back.
    pub fn backoff(mut self, base: Duration, max: Duration) -> Self {
        self.backoff_base = base;
        self.backoff_max = max;
        self
    }

    /// What bounds the further attempts of all requests together, so that they do not multiply the
    /// load on something that is down already.
    ///
    /// tower's default by default: one in five requests may be repeated, and ten a second beside
    /// that, counted over ten seconds. All clones of the policy share the budget; so do all
    /// services made with it.
    pub fn budget(mut self, budget: impl Budget + Send + Sync + 'static) -> Self {
        self.budget = Arc::new(budget);
        self
    }

    /// Says that the responder recognises a request that it has seen, so that every request may be
    /// repeated, idempotent or not.
    ///
    /// Not assumed by default. It is true of a responder with [dedup](super::dedup) in one process,
    /// or with a store that all its processes share, for as long as the memory lasts.
    pub fn responder_deduplicates(mut self) -> Self {
        self.deduplicates = true;
        self
    }

    fn wants_again<E: Side>(&self, request: &Request, result: &Result<Response, E>) -> bool {
        let error = match result {
            Ok(response) => return invites_retry(response.status()),
            Err(error) => error.as_request_error(),
        };
        let harmless = self.deduplicates || request.parts().idempotent;
        match error {
            Some(RequestError::Refused(status)) => invites_retry(&status),
            Some(RequestError::InvalidRequest(_) | RequestError::Closed) => false,
            Some(error) => harmless || error.delivery() == Delivery::NotDelivered,
            None => harmless,
        }
    }

    /// A random time before the next attempt. `made` attempts were made.
    ///
    /// tower's `ExponentialBackoff` is not used: it adds its jitter to the full back-off instead of
    /// choosing below it, and every clone of its maker draws the same numbers, so that requests
    /// that failed together would come again together.
    fn pause(&self, made: u32) -> Duration {
        let factor = 1_u32.checked_shl(made.saturating_sub(1)).unwrap_or(u32::MAX);
        let most = self.backoff_base.saturating_mul(factor).min(self.backoff_max).min(LONGEST);
        most.mul_f64(HasherRng::default().next_f64())
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &(self.backoff_base..=self.backoff_max))
            .field("responder_deduplicates", &self.deduplicates)
            .finish_non_exhaustive()
    }
}

/// Asks again when that is safe; the [module](self) says when that is.
///
/// - The request gets its correlation data here, unless it has one: a fresh ULID, 16 bytes.
/// - It gets its deadline here, from its `timeout`, its `deadline` and the request that the calling
///   task is handling. No attempt starts after it, and the call is over by then.
/// - From the second attempt on, the responder sees the user property `attempt` (`2`, `3`, ..).
/// - An attempt that was given up is an attempt that nobody waits for: put a
///   [`TimeoutLayer`](super::TimeoutLayer) inside to bound each one, or a lost answer costs a
///   requester's whole default timeout.
///
/// # Differences from tower's
///
/// It is tower's `retry`, with a policy that knows what MQTT can know, and with the correlation data
/// stamped before: tower's policy sees the first attempt by shared reference only.
#[derive(Debug, Clone)]
pub struct RetryLayer {
    policy: RetryPolicy,
    make_id: fn() -> bytes::Bytes,
}

impl RetryLayer {
    /// Asks again as the policy says.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, make_id: id::fresh }
    }

    /// Makes correlation data of 26 characters, for platforms that carry only text; use it when the
    /// requester's dialect does.
    pub fn text_ids(mut self) -> Self {
        self.make_id = id::fresh_text;
        self
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        let attempts = Attempts { policy: self.policy.clone(), made: 1 };
        Retry { inner: tower::retry::Retry::new(attempts, inner), make_id: self.make_id }
    }
}

/// The service of a [`RetryLayer`].
#[derive(Debug, Clone)]
pub struct Retry<S> {
    inner: tower::retry::Retry<Attempts, S>,
    make_id: fn() -> bytes::Bytes,
}

impl<S> Service<Request> for Retry<S>
where
    S: Service<Request, Response = Response> + Clone,
    S::Error: Side,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let now = now();
        let parts = request.parts_mut();
        parts.correlation_data.get_or_insert_with(self.make_id);
        let inner = match fix_deadline(parts, now, None) {
            Some(deadline) if deadline <= now => timeout::ResponseFuture::expired(),
            deadline => timeout::ResponseFuture::until(deadline, self.inner.call(request)),
        };
        ResponseFuture { inner }
    }
}

pin_project! {
    /// The future of [`Retry`].
    ///
    /// # Cancel safety
    /// Dropping it drops the attempt that is being made, and makes no other.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S>
    where
        S: Service<Request, Response = Response>,
        S::Error: Side,
    {
        // Waiting for a slot for the next attempt has no clock of its own.
        #[pin]
        inner: timeout::ResponseFuture<tower::retry::future::ResponseFuture<Attempts, S, Request>>,
    }
}

impl<S> Future for ResponseFuture<S>
where
    S: Service<Request, Response = Response> + Clone,
    S::Error: Side,
{
    type Output = Result<Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}

impl<S> fmt::Debug for ResponseFuture<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Side,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// The policy of one request: tower clones it for each call.
#[derive(Debug, Clone)]
struct Attempts {
    policy: RetryPolicy,
    made: u32,
}

impl<E: Side> tower::retry::Policy<Request, Response, E> for Attempts {
    type Future = Sleep;

    fn retry(
        &mut self,
        request: &mut Request,
        result: &mut Result<Response, E>,
    ) -> Option<Self::Future> {
        if !self.policy.wants_again(request, result) {
            if result.is_ok() {
                self.policy.budget.deposit();
            }
            return None;
        }
        let pause = self.policy.pause(self.made);
        let in_time = |deadline| now().checked_add(pause).is_some_and(|next| next < deadline);
        let again = self.made < self.policy.max_attempts
            && request.parts().deadline.is_none_or(in_time)
            && self.policy.budget.withdraw();
        if !again {
            return None;
        }
        self.made += 1;
        let properties = &mut request.parts_mut().user_properties;
        properties.remove(ATTEMPT);
        properties.push(ATTEMPT, self.made.to_string());
        Some(tokio::time::sleep(pause))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::time::{Instant, advance};
    use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok};
    use tower::ServiceExt;

    use super::super::mock::{
        Handle, at_once, code, keeps_the_contract, ms, request, requester, responder, start,
    };
    use super::*;
    use crate::message::Status;

    fn policy() -> RetryPolicy {
        RetryPolicy::default().backoff(ms(10), ms(40))
    }

    /// Answers attempts with `results` in turn, and returns what they looked like.
    async fn answer(
        handle: &mut Handle,
        results: Vec<Result<Response, RequestError>>,
    ) -> Vec<Request> {
        let mut attempts = Vec::new();
        for result in results {
            let (request, send) = handle.next_request().await.unwrap();
            attempts.push(request);
            match result {
                Ok(response) => send.send_response(response),
                Err(error) => send.send_error(error),
            }
        }
        attempts
    }

    /// Makes a call whose attempts end like this: how many were made, and how it ended.
    async fn ends(
        policy: RetryPolicy,
        request: Request,
        error: RequestError,
    ) -> (usize, RequestError) {
        let (service, mut handle) = requester(&RetryLayer::new(policy));
        let call = tokio::spawn(service.oneshot(request));
        let mut attempts = 0;
        while let Some((_, send)) = handle.next_request().await {
            send.send_error(error.clone());
            attempts += 1;
        }
        (attempts, call.await.unwrap().unwrap_err())
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract() {
        keeps_the_contract(RetryLayer::new(policy())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_share_their_id_and_say_their_number() {
        let (service, mut handle) = requester(&RetryLayer::new(policy()));
        let call = tokio::spawn(service.oneshot(Request::new("a", "soup").unwrap()));
        let down = || Err(RequestError::NoResponder);
        let answers =
            vec![down(), Ok(Response::error(Status::UNAVAILABLE)), Ok(Response::new("done"))];
        let attempts = answer(&mut handle, answers).await;
        assert_eq!(call.await.unwrap().unwrap().payload(), "done");
        let ids: HashSet<_> = attempts.iter().map(|a| a.parts().correlation_data.clone()).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(ids.into_iter().next().flatten().unwrap().len(), 16);
        let numbers: Vec<_> =
            attempts.iter().map(|a| a.parts().user_properties.get(ATTEMPT)).collect();
        assert_eq!(numbers, [None, Some("2"), Some("3")]);
        assert!(attempts.iter().all(|a| a.parts().user_properties.len() <= 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_that_is_there_is_kept_and_text_can_be_had() {
        let (mut service, mut handle) = requester(&RetryLayer::new(policy()).text_ids());
        let _calls = [
            start(&mut service, request("mine")),
            start(&mut service, Request::new("a", "").unwrap()),
        ];
        let id = |request: Request| request.parts().correlation_data.clone().unwrap();
        assert_eq!(id(handle.next_request().await.unwrap().0), "mine");
        assert_eq!(id(handle.next_request().await.unwrap().0).len(), 26);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_executed_is_repeated_only_when_that_is_harmless() {
        use RequestError::{Closed, Disconnected, NoResponder, Offline, Overloaded, Timeout};

        let plain = || request("1");
        let refused = |status| RequestError::Refused(status);
        for error in [NoResponder, Overloaded, Offline, Disconnected(Delivery::NotDelivered)] {
            assert_eq!(ends(policy(), plain(), error.clone()).await, (3, error));
        }
        for error in [Timeout, Disconnected(Delivery::Unknown)] {
            assert_eq!(ends(policy(), plain(), error.clone()).await.0, 1, "{error}");
            assert_eq!(ends(policy(), plain().idempotent(), error.clone()).await.0, 3);
            let deduplicates = policy().responder_deduplicates();
            assert_eq!(ends(deduplicates, plain(), error).await.0, 3);
        }
        for (error, attempts) in [
            (refused(Status::TOO_MANY_REQUESTS), 3),
            (refused(Status::UNAVAILABLE), 3),
            (refused(Status::FORBIDDEN), 1),
            (RequestError::InvalidRequest(Request::new("#", "").unwrap_err()), 1),
            (Closed, 1),
        ] {
            assert_eq!(ends(policy(), plain().idempotent(), error.clone()).await.0, attempts);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_responder_only_answers_that_ask_for_it_are_repeated() {
        for (status, attempts) in [(503, 3), (429, 3), (500, 1), (408, 1), (404, 1), (200, 1)] {
            let (service, mut handle) = responder(&RetryLayer::new(policy()));
            let call = tokio::spawn(service.oneshot(request("1")));
            let mut made = 0;
            while let Some((_, send)) = handle.next_request().await {
                send.send_response(Response::error(status));
                made += 1;
            }
            assert_eq!(made, attempts, "{status}");
            assert_eq!(code(call.await.unwrap()), status);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_exhausted_budget_ends_it() {
        let budget = TpsBudget::new(Duration::from_secs(10), 0, 1.0);
        let policy = policy().budget(budget).max_attempts(10);
        assert_eq!(ends(policy.clone(), request("1"), RequestError::NoResponder).await.0, 1);
        policy.budget.deposit();
        policy.budget.deposit();
        assert_eq!(ends(policy.clone(), request("1"), RequestError::NoResponder).await.0, 3);
        assert_eq!(ends(policy, request("1"), RequestError::NoResponder).await.0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_fills_the_budget() {
        let policy = policy().budget(TpsBudget::new(Duration::from_secs(10), 0, 1.0));
        let (mut service, mut handle) = requester(&RetryLayer::new(policy.clone()));
        let mut call = start(&mut service, request("1"));
        answer(&mut handle, vec![Ok(Response::default())]).await;
        assert_ready_ok!(call.poll());
        assert_eq!(ends(policy, request("1"), RequestError::NoResponder).await.0, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_starts_beyond_the_deadline() {
        let policy = policy().max_attempts(1000).budget(TpsBudget::new(ms(1000), 1 << 20, 1.0));
        let begun = Instant::now();
        let request = request("1").timeout(ms(100));
        let (attempts, _) = ends(policy, request, RequestError::NoResponder).await;
        assert!((3..1000).contains(&attempts), "{attempts}");
        assert!(begun.elapsed() <= ms(100), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_the_same_for_all_attempts_and_ends_the_call() {
        let (mut service, mut handle) = requester(&RetryLayer::new(policy()));
        let deadline = now() + ms(100);
        let mut call = start(&mut service, request("1").timeout(ms(100)));
        let first = answer(&mut handle, vec![Err(RequestError::NoResponder)]).await;
        assert_eq!(first[0].parts().deadline, Some(deadline));
        assert_pending!(call.poll());
        advance(ms(20)).await;
        assert_pending!(call.poll());
        let (second, _held) = handle.next_request().await.unwrap();
        assert_eq!(second.parts().deadline, Some(deadline));
        advance(ms(81)).await;
        assert_eq!(assert_ready_err!(call.poll()), RequestError::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_slot_ends_at_the_deadline() {
        let (mut service, mut handle) = requester(&RetryLayer::new(policy()));
        let mut call = start(&mut service, request("1").timeout(ms(100)));
        handle.allow(0);
        answer(&mut handle, vec![Err(RequestError::NoResponder)]).await;
        assert_pending!(call.poll());
        advance(ms(50)).await;
        assert_pending!(call.poll());
        advance(ms(51)).await;
        assert_eq!(assert_ready_err!(call.poll()), RequestError::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_time_is_up_is_not_started() {
        let (mut service, mut handle) = requester(&RetryLayer::new(policy()));
        let error = at_once(&mut service, request("1").deadline(now())).unwrap_err();
        assert_eq!(error, RequestError::Timeout);
        assert!(handle.poll_request().is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_makes_no_other_attempt() {
        let (mut service, mut handle) = requester(&RetryLayer::new(policy()));
        let mut call = start(&mut service, request("1"));
        answer(&mut handle, vec![Err(RequestError::NoResponder)]).await;
        assert_pending!(call.poll());
        drop(call);
        advance(ms(1000)).await;
        assert!(handle.poll_request().is_pending());
        assert_ready!(tokio_test::task::spawn(poll_fn(|cx| service.poll_ready(cx))).poll())
            .unwrap();
    }

    proptest! {
        #[test]
        fn a_pause_is_within_its_bounds(base in 0..10_000_u64, max in 0..10_000_u64, made in 1..100_u32) {
            let pause = RetryPolicy::default().backoff(ms(base), ms(max)).pause(made);
            let doubled = u128::from(base) << (made - 1).min(64);
            prop_assert!(pause.as_millis() <= doubled.min(u128::from(max)));
        }
    }

    #[test]
    fn pauses_use_the_whole_range() {
        let policy = policy();
        let pauses: Vec<_> = (0..1000).map(|_| policy.pause(2).as_micros()).collect();
        for quarter in 0..4 {
            let range = quarter * 5000..(quarter + 1) * 5000;
            let hits = pauses.iter().filter(|pause| range.contains(*pause)).count();
            assert!((150..350).contains(&hits), "{hits} of 1000 in {range:?} µs");
        }
        assert!(
            pauses.iter().collect::<HashSet<_>>().len() > 900,
            "two requests draw different ones"
        );
    }

    #[test]
    fn extreme_settings_are_no_trouble() {
        let policy = RetryPolicy::default().backoff(Duration::MAX, Duration::MAX).max_attempts(0);
        assert!(policy.pause(u32::MAX) <= LONGEST);
        assert_eq!(policy.max_attempts, 1);
    }
}
