//! Asks again when that is safe.
//!
//! Whether it is safe is not guessed from the kind of error but read from
//! [`RequestError::delivery`](crate::RequestError::delivery):
//!
//! | outcome of an attempt | asked again |
//! |---|---|
//! | error, [`NotDelivered`](crate::Delivery::NotDelivered) | yes: nobody has executed it |
//! | answer or refusal with 503 or 429 | yes: who says so asks for it |
//! | error, [`Unknown`](crate::Delivery::Unknown) | only a request that is [`idempotent`](Request::idempotent), or when the [responder deduplicates](RetryPolicy::responder_deduplicates) |
//! | any other answer or refusal; [`InvalidRequest`](crate::RequestError::InvalidRequest); [`Closed`](crate::RequestError::Closed) | no: it would end the same way |
//!
//! A call ends as its last attempt does. But when that says `NotDelivered`, and an earlier one ended
//! with `Unknown`, it ends as the earlier one: the request may have been executed.
//!
//! What 503, 429 and `NotDelivered` say is true of one copy of the request. Where the network delivers it
//! twice, as QoS 1 allows, one copy may be refused while the other is executed.
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

mod policy;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::{Layer, Service};

pub use self::policy::RetryPolicy;
use super::timeout::{self, fix_deadline};
use super::{Side, now};
use crate::error::{Delivery, RequestError};
use crate::id;
use crate::message::{Request, Response};

/// The user property that tells the responder which attempt it sees. Absent on the first.
const ATTEMPT: &str = "attempt";

/// The grain of tokio's timers.
const TICK: Duration = Duration::from_millis(1);

/// Asks again when that is safe; the [module](self) says when that is.
///
/// - The request gets its correlation data here, unless it has one: a fresh ULID, 16 bytes.
/// - It gets its deadline here, from its `timeout`, its `deadline` and the request that the calling
///   task is handling. No attempt starts after it, and the call is over by then.
/// - From the second attempt on, the responder sees the user property `attempt` (`2`, `3`, ..).
/// - It does not bound a single attempt: put a [`TimeoutLayer`](super::TimeoutLayer) inside for that,
///   or a lost answer costs a requester's whole default timeout.
///
/// # Differences from tower's
///
/// It is tower's `retry`, with a policy that knows what MQTT can know, and with the correlation
/// data stamped before: tower's policy sees the first attempt by shared reference only.
#[derive(Debug, Clone)]
pub struct RetryLayer {
    policy: RetryPolicy,
    make_id: fn() -> Bytes,
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
        let attempts = Attempts { policy: self.policy.clone(), made: 1, uncertain: None };
        Retry { inner: tower::retry::Retry::new(attempts, inner), make_id: self.make_id }
    }
}

/// The service of a [`RetryLayer`].
#[derive(Debug, Clone)]
pub struct Retry<S> {
    inner: tower::retry::Retry<Attempts, S>,
    make_id: fn() -> Bytes,
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
    /// How the last attempt ended that may have been executed.
    uncertain: Option<RequestError>,
}

impl Attempts {
    /// The attempt was the last. What it says of itself is not true of those before.
    fn conclude<E: Side>(&mut self, result: &mut Result<Response, E>) {
        let Err(error) = result else { return };
        let undelivered = error.as_request_error().map(|error| error.delivery());
        if undelivered == Some(Delivery::NotDelivered)
            && let Some(earlier) = self.uncertain.take()
        {
            *result = E::attempted(earlier);
        }
    }
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
            self.conclude(result);
            return None;
        }
        let pause = self.policy.pause(self.made);
        // A timer fires on its next tick, which must not be the deadline's.
        let latest = pause + TICK;
        let in_time = |deadline| now().checked_add(latest).is_some_and(|next| next < deadline);
        let again = self.made < self.policy.max_attempts
            && request.parts().deadline.is_none_or(in_time)
            && self.policy.budget.withdraw();
        if !again {
            self.conclude(result);
            return None;
        }
        if let Err(error) = result
            && let Some(error) = error.as_request_error()
            && error.delivery() == Delivery::Unknown
        {
            self.uncertain = Some(error);
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
    use std::time::Duration;

    use tokio::time::{Instant, advance};
    use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok};
    use tower::ServiceExt;
    use tower::retry::budget::TpsBudget;

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
    async fn what_an_earlier_attempt_may_have_done_is_not_forgotten() {
        use RequestError::{Closed, Disconnected, NoResponder, Timeout};

        let unknown = || Disconnected(Delivery::Unknown);
        let forbidden = || RequestError::Refused(Status::FORBIDDEN);
        for (attempts, expected) in [
            (vec![NoResponder, Timeout, NoResponder], Timeout),
            (vec![unknown(), Timeout, NoResponder], Timeout),
            (vec![Timeout, forbidden()], Timeout),
            (vec![Timeout, NoResponder, unknown()], unknown()),
            (vec![Timeout, Closed], Closed),
            (vec![NoResponder, NoResponder, forbidden()], forbidden()),
        ] {
            let (service, mut handle) = requester(&RetryLayer::new(policy()));
            let call = tokio::spawn(service.oneshot(request("1").idempotent()));
            answer(&mut handle, attempts.iter().cloned().map(Err).collect()).await;
            assert_eq!(call.await.unwrap().unwrap_err(), expected, "{attempts:?}");
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
        let (attempts, error) = ends(policy, request, RequestError::NoResponder).await;
        assert_eq!(error, RequestError::NoResponder, "the reason is told without waiting");
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
}
