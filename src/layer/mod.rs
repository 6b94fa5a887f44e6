//! Middleware that works on either side of an exchange.
//!
//! | layer | on a requester | on a responder |
//! |---|---|---|
//! | [`TimeoutLayer`] | `Err(Timeout)` | the handler is dropped, 408 |
//! | [`RetryLayer`] | asks again when that is safe | the same, for services that are called locally |
//! | [`DedupLayer`] | | executes a request once, however often it arrives |
//! | [`ConcurrencyLimitLayer`], [`RateLimitLayer`], [`PayloadLimitLayer`] | `Err(Refused)` before it is sent | 503, 429, 413 |
//! | [`AuthorizeLayer`] | adds credentials | checks them, 401 or 403; the handler learns who asks |
//! | [`TraceLayer`] | a span, and its context in the request | a span in the same trace |
#![cfg_attr(feature = "metrics", doc = "| [`MetricsLayer`] | counts and measures | the same |")]
//! | [`CatchPanicLayer`] | `Err(Layer)` | 500, and the layers outside go on |
//!
//! A layer knows its side by the service's error type: see [`Side`]. What is made by a layer and
//! its clones shares the layer's state, so one `DedupLayer` on a router is one memory for all its
//! routes.
//!
//! # What goes outside what
//!
//! A request goes from the outside in, its answer from the inside out. With
//! [`ServiceBuilder`](tower::ServiceBuilder) the first line is the outermost layer;
//! [`Router::layer`](crate::Router::layer) puts each further one outside.
//!
//! ```text
//!            requester                                      responder
//!
//!      call │          ▲ result                     request │          ▲ answer
//!  ┌────────▼──────────┴────────┐               ┌───────────▼──────────┴───────────┐
//!  │ timeout: the whole budget  │               │ payload, rate, concurrency limit │
//!  │ ┌──────────────────────┐   │               │ ┌──────────────────────────────┐ │
//!  │ │ retry: stamps the id │   │               │ │ authorize: check             │ │
//!  │ │ ┌──────────────────┐ │   │               │ │ ┌──────────────────────────┐ │ │
//!  │ │ │ (hedge, limits)  │ │   │               │ │ │ dedup                    │ │ │
//!  │ │ │ ┌──────────────┐ │ │   │               │ │ │ ┌──────────────────────┐ │ │ │
//!  │ │ │ │ timeout: one │ │ │   │               │ │ │ │ catch panic          │ │ │ │
//!  │ │ │ │ attempt      │ │ │   │    network    │ │ │ │ ┌──────────────────┐ │ │ │ │
//!  │ │ │ │ + authorize  │ │ │   │ ────────────▶ │ │ │ │ │ timeout: handler │ │ │ │ │
//!  │ │ │ │  Requester   │ │ │   │ ◀──────────── │ │ │ │ │   Router         │ │ │ │ │
//!  │ │ │ └──────────────┘ │ │   │               │ │ │ │ └──────────────────┘ │ │ │ │
//!  │ │ └──────────────────┘ │   │               │ │ │ └──────────────────────┘ │ │ │
//!  │ └──────────────────────┘   │               │ │ └──────────────────────────┘ │ │
//!  └────────────────────────────┘               │ └──────────────────────────────┘ │
//!                                               └──────────────────────────────────┘
//! ```
//!
//! On both sides:
//!
//! - **Traces and metrics outermost** see what a caller sees: refusals, timeouts, a retry with all its
//!   attempts as one. Inside a retry they see each attempt.
//!
//! On a requester:
//!
//! - **A timeout outside the retry** bounds all attempts together: it writes the deadline into the
//!   request, and nothing inside goes beyond. **One inside the retry** bounds each attempt; without
//!   it a lost answer costs the requester's whole default timeout. It should be longer than what the
//!   handler may take, or the caller cuts short what it then asks for again.
//! - **A hedge inside the retry**, because the retry stamps the correlation data: the two attempts
//!   of the hedge are then one request (`max_attempts(1)` stamps and does not retry).
//! - **Limits inside the retry** count attempts, outside it calls. What they refuse was not sent,
//!   so a retry outside asks again after 429 and 503.
//! - **What signs is innermost**: each attempt carries a fresh signature.
//!
//! On a responder:
//!
//! - **Limits outermost**: what is too much costs the least there. But a limit outside a dedup
//!   counts copies too, and one that tells callers apart has to be inside what authorizes: outside
//!   it nobody is verified yet.
//! - **What authorizes outside the dedup**, or a stranger could ask for the answers of others.
//! - **Dedup outside the timeout and the panic catcher**, so that their 408 and 500 are remembered,
//!   and the handler is not executed again for a copy.
//! - **A timeout inside the dedup** bounds the execution, not the copies that wait for it; the
//!   caller's own deadline bounds those.
//!
//! # tower's own layers
//!
//! They compose, over and under these. `load_shed`, `buffer`, `hedge` and `timeout` turn the error
//! type into [`BoxError`], which is a [`Side`] as well; `map_err(RequestError::from)` turns it
//! back, and on a router [`HandleErrorLayer`](crate::responder::HandleErrorLayer) outside them
//! turns it into an answer. `rate_limit` and `hedge` are not `Clone`, which a retry outside them
//! needs: put a `buffer` between. `BoxCloneSyncService` names a whole stack, for a handler's state
//! (`BoxCloneService` is not `Sync`).
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
//! use tower_mqtt::layer::{DedupLayer, RateLimitLayer, RetryLayer, TimeoutLayer, retry::RetryPolicy};
//! use tower_mqtt::{Request, RequestError, Requester, Responder, Response, Router, link::memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (machine, kitchen) = memory::pair();
//! let router = Router::new().route("brew", async || "done").layer(
//!     ServiceBuilder::new()
//!         .layer(RateLimitLayer::new(10, Duration::from_secs(1)))
//!         .layer(DedupLayer::default())
//!         .layer(TimeoutLayer::new(Duration::from_secs(2))),
//! );
//! let _responder = Responder::builder(kitchen).serve(router).await?;
//!
//! let requester = Requester::builder(machine).build().await?;
//! let client: BoxCloneSyncService<Request, Response, RequestError> = BoxCloneSyncService::new(
//!     ServiceBuilder::new()
//!         .layer(TimeoutLayer::new(Duration::from_secs(10)))
//!         .layer(RetryLayer::new(RetryPolicy::default().responder_deduplicates()))
//!         .map_err(RequestError::from)
//!         .load_shed() // instead of waiting for a slot: Overloaded, which is retried
//!         .layer(TimeoutLayer::new(Duration::from_secs(3)))
//!         .service(requester),
//! );
//! assert_eq!(client.oneshot(Request::new("brew", "")?).await?.payload(), "done");
//! # Ok(())
//! # }
//! ```

pub mod authorize;
pub mod catch_panic;
pub mod dedup;
pub mod limit;
#[cfg(feature = "metrics")]
pub mod metrics;
mod outcome;
pub mod retry;
pub mod timeout;
pub mod trace;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tower::BoxError;

pub use self::authorize::AuthorizeLayer;
pub use self::catch_panic::CatchPanicLayer;
pub use self::dedup::DedupLayer;
pub use self::limit::{ConcurrencyLimitLayer, PayloadLimitLayer, RateLimitLayer};
#[cfg(feature = "metrics")]
pub use self::metrics::MetricsLayer;
pub use self::retry::RetryLayer;
pub use self::timeout::TimeoutLayer;
pub use self::trace::TraceLayer;
use crate::error::{LayerError, RequestError};
use crate::message::{Response, Status};

/// How a layer says no, by the error type of the service that it wraps: this is how it knows which
/// side of the exchange it is on.
///
/// | error type | where | a refusal | out of time |
/// |---|---|---|---|
/// | [`RequestError`] | a requester | `Err(Refused(status))` | `Err(Timeout)` |
/// | [`Infallible`] | a responder | an answer with that status | an answer with 408 |
/// | [`BoxError`] | above tower's `buffer`, `hedge`, `load_shed` | as on a requester, boxed | boxed `Timeout` |
///
/// It is not sealed: a stack with an error type of your own (after `map_err`) takes these layers
/// when the type implements it.
///
/// ```
/// use std::convert::Infallible;
/// use tower_mqtt::layer::Side;
/// use tower_mqtt::{RequestError, Status};
///
/// let refused = RequestError::refuse(Status::FORBIDDEN).unwrap_err();
/// assert_eq!(refused, RequestError::Refused(Status::FORBIDDEN));
/// assert_eq!(Infallible::refuse(Status::FORBIDDEN).unwrap().status(), &Status::FORBIDDEN);
/// assert_eq!(Infallible::timeout().unwrap().status(), &Status::TIMEOUT);
/// ```
pub trait Side: Sized {
    /// Whether this is the responder's side, where requests arrive.
    const IS_RESPONDER: bool = false;

    /// The request is refused and was not passed on.
    ///
    /// # Errors
    /// On a requester, always.
    fn refuse(status: Status) -> Result<Response, Self>;

    /// The time for the request has run out. It may have been executed.
    ///
    /// # Errors
    /// On a requester, always.
    fn timeout() -> Result<Response, Self>;

    /// Something in the stack broke. The request may have been executed. On a responder the answer
    /// is 500 without the error's text, which may be nobody else's business.
    ///
    /// # Errors
    /// On a requester, always.
    fn broken(error: LayerError) -> Result<Response, Self>;

    /// The request may have been executed, as this error of an earlier attempt says; only that its
    /// last attempt was not. Like [`broken`](Self::broken) with the error inside, unless the error
    /// type can hold it as it is.
    ///
    /// # Errors
    /// On a requester, always.
    fn attempted(error: RequestError) -> Result<Response, Self> {
        Self::broken(LayerError::new(error))
    }

    /// What the error says as a [`RequestError`]; `None` when it is none of ours.
    fn as_request_error(&self) -> Option<RequestError>;
}

impl Side for RequestError {
    fn refuse(status: Status) -> Result<Response, Self> {
        Err(Self::Refused(status))
    }

    fn timeout() -> Result<Response, Self> {
        Err(Self::Timeout)
    }

    fn broken(error: LayerError) -> Result<Response, Self> {
        Err(Self::Layer(error))
    }

    fn attempted(error: RequestError) -> Result<Response, Self> {
        Err(error)
    }

    fn as_request_error(&self) -> Option<RequestError> {
        Some(self.clone())
    }
}

impl Side for Infallible {
    const IS_RESPONDER: bool = true;

    fn refuse(status: Status) -> Result<Response, Self> {
        Ok(Response::error(status))
    }

    fn timeout() -> Result<Response, Self> {
        Ok(Response::error(Status::TIMEOUT))
    }

    fn broken(_: LayerError) -> Result<Response, Self> {
        Ok(Response::error(Status::INTERNAL))
    }

    fn as_request_error(&self) -> Option<RequestError> {
        match *self {}
    }
}

impl Side for BoxError {
    fn refuse(status: Status) -> Result<Response, Self> {
        Err(RequestError::Refused(status).into())
    }

    fn timeout() -> Result<Response, Self> {
        Err(RequestError::Timeout.into())
    }

    fn broken(error: LayerError) -> Result<Response, Self> {
        Err(RequestError::Layer(error).into())
    }

    fn attempted(error: RequestError) -> Result<Response, Self> {
        Err(error.into())
    }

    fn as_request_error(&self) -> Option<RequestError> {
        RequestError::find(&**self)
    }
}

/// As good as forever: about 30 years. Durations beyond it cannot be added to every clock.
const LONGEST: Duration = Duration::from_hours(30 * 365 * 24);

/// The time, which tests may have paused.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod mock;
