//! What can go wrong, sorted by the one question a caller has: *may it have been executed?*

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use thiserror::Error;
use tower::BoxError;

use crate::core::packet::{ReasonCode, Text};
use crate::core::template::TemplateError;
use crate::core::topic::{TopicError, TopicFilter};
use crate::message::Status;

/// Whether a request that failed may have been executed.
///
/// This is what a retry looks at, and nothing else: what was not delivered may be sent again
/// freely; what is unknown only if doing it twice does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// No responder has seen the request.
    NotDelivered,
    /// A responder may have seen the request, and may have executed it.
    Unknown,
}

/// Why a call has no response.
///
/// An application's own failure is not an error here: it is an `Ok(Response)` with a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No answer came before the call's deadline.
    #[error("no answer before the deadline")]
    Timeout,
    /// The broker said that nobody is subscribed to the request's topic (PUBACK 0x10).
    ///
    /// Not [every broker](crate#brokers-and-what-they-say-when-nobody-is-subscribed) says so.
    #[error("nobody is subscribed to the request's topic")]
    NoResponder,
    /// The broker refused the request, or the subscription that its answer needs.
    #[error("the broker refused: {0}")]
    Rejected(ReasonCode),
    /// The connection was lost, or was not there to begin with.
    #[error("disconnected, {}", match .0 {
        Delivery::NotDelivered => "the request was not sent",
        Delivery::Unknown => "the request may have been executed",
    })]
    Disconnected(Delivery),
    /// One of this side's bounds is reached: the connection's outgoing queue is full, or the
    /// requester has no short id left, or too many attempts or busy devices.
    #[error("too much is waiting on this side")]
    Overloaded,
    /// A layer on this side refused the request before it was sent.
    #[error("refused before it was sent: {0}")]
    Refused(Status),
    /// The request cannot be sent as it is.
    #[error("invalid request: {0}")]
    InvalidRequest(#[from] InvalidRequest),
    /// The device is not connected. The hub knows, for dialects whose topics name the device;
    /// elsewhere it is [`NoResponder`](Self::NoResponder).
    #[error("the device is not connected")]
    Offline,
    /// The device is connected, and has not subscribed to its requests. Known where
    /// [`Offline`](Self::Offline) is.
    #[error("the device is connected, and has not subscribed to its requests")]
    NotSubscribed,
    /// The requester, its link or its hub was closed.
    #[error("the link is closed")]
    Closed,
    /// A layer failed in a way that this crate does not know; the layer's own error is inside.
    #[error("a layer failed: {0}")]
    Layer(#[from] LayerError),
}

impl RequestError {
    /// Whether the request may have been executed. `Unknown` is the careful answer: a `Timeout` or
    /// `Closed` that came before anything was sent says it as well.
    ///
    /// ```
    /// use tower_mqtt::{Delivery, RequestError};
    ///
    /// assert_eq!(RequestError::NoResponder.delivery(), Delivery::NotDelivered);
    /// assert_eq!(RequestError::Timeout.delivery(), Delivery::Unknown);
    /// ```
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Timeout | Self::Closed | Self::Layer(_) => Delivery::Unknown,
            Self::Disconnected(delivery) => *delivery,
            Self::NoResponder
            | Self::Rejected(_)
            | Self::Overloaded
            | Self::Refused(_)
            | Self::InvalidRequest(_)
            | Self::Offline
            | Self::NotSubscribed => Delivery::NotDelivered,
        }
    }

    /// One word for it, as metrics and traces have it: `timeout`, `no_responder`, …
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NoResponder => "no_responder",
            Self::Rejected(_) => "rejected",
            Self::Disconnected(_) => "disconnected",
            Self::Overloaded => "overloaded",
            Self::Refused(_) => "refused",
            Self::InvalidRequest(_) => "invalid_request",
            Self::Offline => "offline",
            Self::NotSubscribed => "not_subscribed",
            Self::Closed => "closed",
            Self::Layer(_) => "layer",
        }
    }

    /// The first error in the chain that is one of ours, or that says the same as one of ours.
    pub(crate) fn find(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(ours) = error.downcast_ref::<Self>() {
                return Some(ours.clone());
            }
            if error.is::<tower::load_shed::error::Overloaded>() {
                return Some(Self::Overloaded);
            }
            if error.is::<tower::timeout::error::Elapsed>() {
                return Some(Self::Timeout);
            }
            if error.is::<tower::buffer::error::Closed>() {
                return Some(Self::Closed);
            }
            next = error.source();
        }
        None
    }
}

/// Takes back what a layer has boxed: `load_shed`, `buffer`, `hedge` and `timeout` of tower turn
/// every error into a [`BoxError`].
///
/// | in the box, or in its chain of sources | becomes |
/// |---|---|
/// | a `RequestError` | itself |
/// | `tower::load_shed::error::Overloaded` | [`Overloaded`](RequestError::Overloaded) |
/// | `tower::timeout::error::Elapsed` | [`Timeout`](RequestError::Timeout) |
/// | `tower::buffer::error::Closed` | [`Closed`](RequestError::Closed) |
/// | anything else | [`Layer`](RequestError::Layer), with the box inside |
///
/// ```
/// use tower_mqtt::{Delivery, RequestError};
///
/// let overloaded: tower::BoxError = tower::load_shed::error::Overloaded::new().into();
/// assert_eq!(RequestError::from(overloaded), RequestError::Overloaded);
///
/// let unknown = RequestError::from(tower::BoxError::from("the fuse is blown"));
/// assert_eq!(unknown.to_string(), "a layer failed: the fuse is blown");
/// assert_eq!(unknown.delivery(), Delivery::Unknown);
/// ```
impl From<BoxError> for RequestError {
    fn from(error: BoxError) -> Self {
        Self::find(&*error).unwrap_or_else(|| Self::Layer(LayerError::new(error)))
    }
}

/// The error of a layer that this crate does not know: the one boxed error here, as layers of any
/// crate may be put around a requester and what they say must not be lost. A clone is the same
/// error, and equal to it; no two others are equal.
#[derive(Debug, Clone)]
pub struct LayerError(Arc<dyn StdError + Send + Sync>);

impl LayerError {
    /// Wraps a layer's error.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(Arc::from(error.into()))
    }

    /// The error, to look for a known one with `downcast_ref`.
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for LayerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl PartialEq for LayerError {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LayerError {}

/// What a handler answers when a call that it made has failed and it returns the error: a refusal is
/// passed on, a request that could not be written is the handler's own mistake (500), and everything
/// else is 502.
///
/// Never 503 or 429, not even a refusal: they say that a request was not executed, so that
/// [`RetryLayer`](crate::layer::RetryLayer) sends it again, and the handler has begun. One that has done
/// nothing yet may answer [`Status::UNAVAILABLE`] of its own accord.
impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(status) if !status.invites_retry() => status,
            RequestError::InvalidRequest(_) => Self::INTERNAL,
            other => Self::BAD_GATEWAY.with_message(format!("a call made for it: {other}")),
        }
    }
}

/// What is wrong with a request that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// Its topic is not a topic name.
    #[error("topic: {0}")]
    Topic(#[from] TopicError),
    /// It is larger than the server accepts.
    #[error("{size} bytes, the server accepts {limit}")]
    TooLarge {
        /// Bytes of the packet.
        size: usize,
        /// The server's Maximum Packet Size in bytes.
        limit: usize,
    },
    /// Its timeout is not one that the dialect allows.
    #[error("a timeout of {timeout:?}, where {shortest:?} to {longest:?} are possible")]
    Timeout {
        /// What was asked for.
        timeout: Duration,
        /// The dialect's shortest.
        shortest: Duration,
        /// The dialect's longest.
        longest: Duration,
    },
    /// The dialect has no way to write it; the text says what.
    #[error("{dialect}: {what}")]
    Dialect {
        /// The dialect's name.
        dialect: &'static str,
        /// What cannot be written.
        what: Text,
    },
    /// The payload could not be encoded (JSON); the text is the encoder's.
    #[error("payload: {0}")]
    Payload(Box<str>),
}

/// Why a connection could not be made.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is not one that this crate can connect to.
    #[error("address: {0}")]
    Address(Box<str>),
    /// The host could not be found or reached.
    #[error("cannot reach {address}: {source}")]
    Unreachable {
        /// Host and port, or the path of a Unix socket.
        address: Box<str>,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// TLS could not be agreed on.
    #[cfg(feature = "tls")]
    #[error("TLS with {address}: {reason}")]
    Tls {
        /// Host and port.
        address: Box<str>,
        /// Why.
        reason: crate::tls::TlsError,
    },
    /// The server did not open a WebSocket for MQTT.
    #[cfg(feature = "ws")]
    #[error("WebSocket with {address}: {text}")]
    WebSocket {
        /// Host and port.
        address: Box<str>,
        /// What HTTP answered when it was not 101, for instance 404 for a wrong path.
        status: Option<u16>,
        /// What is wrong.
        text: Box<str>,
    },
    /// The server answered CONNECT with a refusal.
    #[error("the server refused the connection: {reason}{}", .text.as_deref().map(|t| format!(", {t}")).unwrap_or_default())]
    Refused {
        /// Why.
        reason: ReasonCode,
        /// The server's own words, when it gave any.
        text: Option<Box<str>>,
    },
    /// Nothing came back within the connect timeout.
    #[error("the server did not answer in time")]
    Timeout,
    /// The peer does not speak MQTT 5, or closed the connection during the handshake.
    #[error("the peer does not speak MQTT 5: {0}")]
    Protocol(Box<str>),
    /// The connection thread could not be started.
    #[error("cannot start the connection thread: {0}")]
    Thread(Arc<io::Error>),
}

/// Why a responder could not be started, or a requester could not be built.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The routes contradict each other; all of the contradictions at once.
    #[error("{}", join(.0))]
    Routes(Vec<RouteError>),
    /// The broker refused a subscription.
    #[error("the broker refused the subscription to {filter}: {reason}")]
    Subscribe {
        /// The topic filter.
        filter: TopicFilter,
        /// Why.
        reason: ReasonCode,
    },
    /// The connection was lost before the subscriptions were acknowledged.
    #[error("disconnected before the subscriptions were acknowledged")]
    Disconnected,
    /// A setting is not possible; the text says which and why.
    #[error("configuration: {0}")]
    Configuration(Box<str>),
    /// The link or the hub was closed.
    #[error("the link is closed")]
    Closed,
}

/// What is wrong with a route.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The template cannot be parsed.
    #[error("route {template:?}: {source}")]
    Template {
        /// As it was given.
        template: Box<str>,
        /// What is wrong.
        source: TemplateError,
    },
    /// Two routes match exactly the same topics.
    #[error("routes {first:?} and {second:?} match the same topics")]
    Conflict {
        /// The one that was added first.
        first: Box<str>,
        /// The other.
        second: Box<str>,
    },
    /// There are no routes at all, so there is nothing to subscribe to.
    #[error("the router has no routes")]
    Empty,
}

fn join(errors: &[RouteError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] RequestError);

    #[test]
    fn a_boxed_error_is_found_wherever_it_is_in_the_chain() {
        let find = |error: BoxError| RequestError::from(error);
        assert_eq!(find(RequestError::NoResponder.into()), RequestError::NoResponder);
        assert_eq!(find(Wrapped(RequestError::Offline).into()), RequestError::Offline);
        assert_eq!(find(tower::timeout::error::Elapsed::new().into()), RequestError::Timeout);
    }

    #[test]
    fn an_unknown_error_loses_nothing() {
        let error = RequestError::from(BoxError::from(io::Error::other("blown")));
        assert_eq!(error.clone(), error);
        let RequestError::Layer(inner) = &error else { panic!("{error:?}") };
        assert!(inner.get_ref().is::<io::Error>());
        assert_ne!(*inner, LayerError::new("blown"));
        assert_eq!(error.delivery(), Delivery::Unknown);
    }
}
