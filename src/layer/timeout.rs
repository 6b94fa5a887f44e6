//! A limit on how long a request may take, on either side.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mqtt::layer::TimeoutLayer;
//! use tower_mqtt::{Request, RequestError, Requester, Responder, Router, link::memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (a, b) = memory::pair();
//! let router = Router::new()
//!     .route("slow", std::future::pending::<()>)
//!     .layer(TimeoutLayer::new(Duration::from_millis(10)));
//! let _responder = Responder::builder(b).serve(router).await?;
//! let requester = Requester::builder(a).build().await?;
//!
//! // The responder's limit is the shorter one: it answers.
//! let limit = TimeoutLayer::new(Duration::from_secs(5));
//! let mut client = ServiceBuilder::new().layer(limit).service(requester.clone());
//! let response = client.ready().await?.call(Request::new("slow", "")?).await?;
//! assert_eq!(response.status().to_string(), "408 timeout");
//!
//! // The requester's limit is the shorter one: nobody waits for the responder.
//! let limit = TimeoutLayer::new(Duration::from_millis(1));
//! let mut client = ServiceBuilder::new().layer(limit).service(requester);
//! let error = client.ready().await?.call(Request::new("slow", "")?).await.unwrap_err();
//! assert_eq!(error, RequestError::Timeout);
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::{Layer, Service};

use super::{LONGEST, Side, now};
use crate::message::{Parts, Request, Response};
use crate::scope::current_deadline;

/// Ends a request that takes too long.
///
/// The limit is the earliest of the layer's own, the request's `deadline`, its `timeout` counted
/// from here, and the deadline of the request that the calling task is handling. It is written into
/// the request as its `deadline`, so that everything inside sees it: outside a
/// [retry](super::retry) it bounds all attempts together, and over the network it is the
/// responder's deadline.
///
/// - The answer beats the clock: one that is there is returned even when the time has run out.
/// - When the time runs out, the future inside is dropped at once. On a requester the result is
///   [`RequestError::Timeout`](crate::RequestError::Timeout), on a responder an answer with 408
///   (which is not sent when the caller's own deadline has passed: nobody waits for it any more).
/// - A request whose time is up already is not started.
///
/// # Differences from tower's
///
/// `tower::timeout` knows only its own limit, tells nobody about it, makes the error a `BoxError`,
/// and starts a request whatever its deadline. This one keeps the error type.
#[derive(Debug, Clone, Copy)]
pub struct TimeoutLayer {
    limit: Duration,
}

impl TimeoutLayer {
    /// At most `limit` from the call to its end; time spent in `poll_ready` does not count.
    pub const fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner, limit: self.limit }
    }
}

/// The service of a [`TimeoutLayer`].
#[derive(Debug, Clone)]
pub struct Timeout<S> {
    inner: S,
    limit: Duration,
}

impl<S> Service<Request> for Timeout<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Side,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let now = now();
        let deadline = fix_deadline(request.parts_mut(), now, Some(self.limit));
        match deadline {
            Some(deadline) if deadline <= now => ResponseFuture::expired(),
            _ => ResponseFuture::until(deadline, self.inner.call(request)),
        }
    }
}

/// Writes into the request when it must be over, all that is known considered.
pub(super) fn fix_deadline(
    parts: &mut Parts,
    now: Instant,
    limit: Option<Duration>,
) -> Option<Instant> {
    let after = |duration: Duration| now.checked_add(duration);
    let bounds =
        [limit.and_then(after), parts.timeout.and_then(after), parts.deadline, current_deadline()];
    parts.deadline = bounds.into_iter().flatten().min();
    parts.deadline
}

pin_project! {
    /// The future of [`Timeout`].
    ///
    /// # Cancel safety
    /// Dropping it drops the future inside.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        // `None` once there is a result, so that what is inside ends with it.
        #[pin]
        inner: Option<F>,
        #[pin]
        expiry: Option<Sleep>,
    }
}

impl<F> ResponseFuture<F> {
    /// `inner`, until then; without a limit when there is none.
    pub(super) fn until(deadline: Option<Instant>, inner: F) -> Self {
        let expiry = deadline.map(|deadline| {
            let deadline = deadline.min(now() + LONGEST);
            tokio::time::sleep_until(tokio::time::Instant::from_std(deadline))
        });
        Self { inner: Some(inner), expiry }
    }

    pub(super) fn expired() -> Self {
        Self { inner: None, expiry: None }
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Side,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            // The answer is looked at first: one that is there beats a clock that has run out.
            if let Poll::Ready(result) = inner.poll(cx) {
                this.inner.set(None);
                return Poll::Ready(result);
            }
            match this.expiry.as_mut().as_pin_mut() {
                Some(expiry) => ready!(expiry.poll(cx)),
                None => return Poll::Pending,
            }
            this.inner.set(None);
        }
        Poll::Ready(E::timeout())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::sync::Arc;

    use tokio::time::advance;
    use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok};
    use tower::service_fn;

    use super::super::mock::{
        at_once, keeps_the_contract, ms, request, requester, responder, start,
    };
    use super::*;
    use crate::error::RequestError;

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract() {
        keeps_the_contract(TimeoutLayer::new(ms(10))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_runs_out_on_either_side() {
        let (mut service, _handle) = requester(&TimeoutLayer::new(ms(10)));
        let mut call = start(&mut service, request("1"));
        advance(ms(9)).await;
        assert_pending!(call.poll());
        advance(ms(2)).await;
        assert_eq!(assert_ready_err!(call.poll()), RequestError::Timeout);

        let (mut service, _handle) = responder(&TimeoutLayer::new(ms(10)));
        let mut call = start(&mut service, request("1"));
        advance(ms(11)).await;
        assert_eq!(assert_ready_ok!(call.poll()).status().code(), 408);
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_beats_the_clock() {
        let (mut service, mut handle) = responder(&TimeoutLayer::new(ms(10)));
        let mut call = start(&mut service, request("1"));
        handle.next_request().await.unwrap().1.send_response(Response::new("late but there"));
        advance(ms(1000)).await;
        assert_eq!(assert_ready_ok!(call.poll()).payload(), "late but there");
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_limit_counts_and_the_service_inside_sees_it() {
        let (mut service, mut handle) = requester(&TimeoutLayer::new(ms(10)));
        let now = now();
        for (asked, deadline) in [
            (request("1"), ms(10)),
            (request("1").timeout(ms(5)), ms(5)),
            (request("1").deadline(now + ms(7)).timeout(Duration::MAX), ms(7)),
            (request("1").deadline(now + ms(20)), ms(10)),
        ] {
            let _call = start(&mut service, asked);
            let (seen, _) = handle.next_request().await.unwrap();
            assert_eq!(seen.parts().deadline, Some(now + deadline));
        }
        let handling = poll_fn(|_| Poll::Ready(start(&mut service, request("1"))));
        let _call = crate::scope::enter(Some(now + ms(1)), handling).await;
        let (seen, _) = handle.next_request().await.unwrap();
        assert_eq!(seen.parts().deadline, Some(now + ms(1)), "of the request being handled");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_time_is_up_is_not_started() {
        let (mut service, mut handle) = requester(&TimeoutLayer::new(ms(10)));
        let error = at_once(&mut service, request("1").deadline(now())).unwrap_err();
        assert_eq!(error, RequestError::Timeout);
        assert!(handle.poll_request().is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn the_future_inside_is_dropped_when_the_time_runs_out() {
        let held = Arc::new(());
        let handler = Arc::clone(&held);
        let mut service = TimeoutLayer::new(ms(10)).layer(service_fn(move |_| {
            let running = Arc::clone(&handler);
            async move {
                std::future::pending::<()>().await;
                drop(running);
                Ok::<_, Infallible>(Response::default())
            }
        }));
        let mut call = start(&mut service, request("1"));
        assert_eq!(Arc::strong_count(&held), 3);
        advance(ms(11)).await;
        assert_eq!(assert_ready!(call.poll()).unwrap().status().code(), 408);
        assert_eq!(Arc::strong_count(&held), 2, "the handler's future is gone before ours");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_beyond_every_clock_is_none() {
        let (mut service, mut handle) = requester(&TimeoutLayer::new(Duration::MAX));
        let mut call = start(&mut service, request("1"));
        let (seen, send) = handle.next_request().await.unwrap();
        assert_eq!(seen.parts().deadline, None);
        send.send_response(Response::default());
        assert_ready_ok!(call.poll());
    }
}
