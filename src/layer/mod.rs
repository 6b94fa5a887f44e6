//! Middleware that works on either side of an exchange.

pub mod catch_panic;
pub mod dedup;
pub mod limit;
pub mod retry;
pub mod timeout;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tower::BoxError;

pub use self::catch_panic::CatchPanicLayer;
pub use self::dedup::DedupLayer;
pub use self::limit::{ConcurrencyLimitLayer, PayloadLimitLayer, RateLimitLayer};
pub use self::retry::RetryLayer;
pub use self::timeout::TimeoutLayer;
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
/// assert_eq!(RequestError::refuse(Status::FORBIDDEN).unwrap_err(), RequestError::Refused(Status::FORBIDDEN));
/// assert_eq!(Infallible::refuse(Status::FORBIDDEN).unwrap().status(), &Status::FORBIDDEN);
/// assert_eq!(Infallible::timeout().unwrap().status(), &Status::TIMEOUT);
/// ```
pub trait Side: Sized {
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

    fn as_request_error(&self) -> Option<RequestError> {
        Some(self.clone())
    }
}

impl Side for Infallible {
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

    fn as_request_error(&self) -> Option<RequestError> {
        RequestError::find(&**self)
    }
}

/// As good as forever: about 30 years. Durations beyond it cannot be added to every clock.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Whether the status says that asking again later may help, and so that this request was not
/// executed.
fn invites_retry(status: &Status) -> bool {
    [Status::UNAVAILABLE.code(), Status::TOO_MANY_REQUESTS.code()].contains(&status.code())
}

/// The time, which tests may have paused.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod mock;
