//! How one request and its response are written on topics. Pure: a dialect holds no connection,
//! reads no clock and draws no random number.
//!
//! | dialect | request to | answer to | pairs by |
//! |---|---|---|---|
//! | [`Native`] | the topic itself | Response Topic | Correlation Data |
//! | [`Template`] | a topic made from the address and an id | another, or the same | the id and the device |
//! | the vendors': see [`rrpc`] | | | |
//!
//! # How to add a dialect
//!
//! Implement [`Dialect`]: four methods write and read the two messages, two say what to subscribe
//! to, and the rest have defaults. A [`Requester`](crate::Requester) and a
//! [`Responder`](crate::Responder) take it by value. This is a complete one, in which request and
//! answer share one topic and the id is a level of it:
//!
//! ```
#![doc = include_str!("../../tests/support/echo_topic.rs")]
//! ```
//!
//! Three things to know when request and answer share a topic:
//!
//! - subscribe with [`no_local`](Subscription::no_local), or the requester takes its own request
//!   for the answer;
//! - [`Dialect::response_key`] is asked for every message that the requester's subscription brings,
//!   so it says `None` to what is not an answer;
//! - the id is what a stranger could guess: use [`IdFormat::UlidText`] unless the peers cannot
//!   carry it.

mod native;
pub mod rrpc;
mod shared;
pub mod template;

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

pub use self::native::Native;
pub use self::template::Template;
use crate::core::packet::Qos;
pub use crate::core::packet::{Message, Subscription};
use crate::core::topic::{TopicFilter, TopicName};
use crate::error::InvalidRequest;
use crate::message::{Request, Response};

/// How one request and its response are written on topics.
///
/// A [`Request`]'s topic is its *address*: who is asked, and for what. In [`Native`] it is the topic on
/// the wire; a dialect that puts an id into its topics makes the wire topic from it and finds it
/// there again, so that routes, handlers and callers are the same in every dialect.
pub trait Dialect: Debug + Send + Sync + 'static {
    /// The dialect's name, for errors and logs.
    fn name(&self) -> &'static str;

    /// How long a call waits when nobody says otherwise.
    ///
    /// 10 s by default: long enough for a device on a slow link, short enough for a person.
    fn default_timeout(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// What a caller may choose as [`timeout`](Request::timeout). Anything by default. A deadline
    /// that comes from elsewhere may always shorten a call.
    fn timeouts(&self) -> RangeInclusive<Duration> {
        Duration::ZERO..=Duration::MAX
    }

    /// What ids look like. 16 bytes by default.
    fn id_format(&self) -> IdFormat {
        IdFormat::Ulid
    }

    /// What it carries beside the payload. Everything by default.
    fn carries(&self) -> Carries {
        Carries::EVERYTHING
    }

    /// The part of an address that says which device is asked; the rest says for what. The whole
    /// address by default.
    fn device<'a>(&self, address: &'a TopicName) -> &'a str {
        address.as_str()
    }

    /// What a requester subscribes to for the answers of those that it asks. `response_topic` is
    /// the one that the link gave it; a dialect whose answers come elsewhere ignores it. `None`: no
    /// address of this dialect matches `peers`.
    fn response_subscription(
        &self,
        response_topic: &TopicName,
        peers: &TopicFilter,
    ) -> Option<Subscription>;

    /// What pairs a request that has this id with its answer: the same that
    /// [`response_key`](Self::response_key) makes of the answer. The id itself by default; a dialect
    /// whose ids are short or easily guessed adds the device, so that nobody answers for another.
    ///
    /// # Errors
    /// [`InvalidRequest`] when the address is not one of this dialect.
    fn request_key(&self, _request: &Request, id: &Bytes) -> Result<Bytes, InvalidRequest> {
        Ok(id.clone())
    }

    /// Writes a request.
    ///
    /// # Errors
    /// [`InvalidRequest`] when the dialect has no way to write it.
    fn encode_request(&self, request: OutgoingRequest<'_>) -> Result<Message, InvalidRequest>;

    /// Writes anew how much time is left into a request that is sent a second time. Nothing by
    /// default, for dialects that do not carry it.
    fn restamp(&self, _message: &mut Message, _left: Duration) {}

    /// What pairs `message` with the request that it answers, or `None` when it is not an answer to
    /// this requester. Asked for every message that arrives, so it must be cheap.
    fn response_key(&self, message: &Message, response_topic: &TopicName) -> Option<Bytes>;

    /// Reads an answer.
    ///
    /// # Errors
    /// [`Malformed`] when it is not one; it is dropped and counted.
    fn decode_response(&self, message: Message) -> Result<Response, Malformed>;

    /// What a responder subscribes to for a route. The route itself by default; nothing when no
    /// address of this dialect matches the route.
    fn request_subscriptions(&self, route: &TopicFilter) -> Vec<Subscription> {
        vec![Subscription::new(route.clone())]
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`Malformed`] when it is not one, with where the refusal goes if that much could be read.
    fn decode_request(&self, message: Message) -> Result<IncomingRequest, Malformed>;

    /// Writes an answer. `left` is how long the caller still waits, when that is known. Where the
    /// dialect [carries](Self::carries) no status, it is a success.
    ///
    /// # Errors
    /// [`Malformed`] when the dialect cannot carry it; nothing is sent, and it is counted.
    fn encode_response(
        &self,
        reply_to: &ReplyTo,
        response: Response,
        left: Option<Duration>,
    ) -> Result<Message, Malformed>;

    /// Whether the answer goes to the topic of the request. No by default: then a responder refuses
    /// a request whose response topic is one of its own routes, which would be an endless loop.
    fn answers_on_request_topic(&self) -> bool {
        false
    }

    /// Whether this dialect answers on topics that start with `$`. No by default: such topics
    /// belong to the server [MQTT-4.7.2-1].
    fn owns_reserved_topics(&self) -> bool {
        false
    }

    /// Whom a request on this wire topic is for, when the topic says so. Nobody by default. A hub
    /// asks, to tell a device that is not connected from one that has not subscribed.
    fn addressee(&self, _topic: &TopicName) -> Option<Addressee> {
        None
    }
}

/// What a dialect carries beside the payload. What it does not carry is not sent, and nobody is told:
/// layers work unchanged, but the other side does not see their work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "they have nothing to do with each other")]
pub struct Carries {
    /// How a request went. Without it an answer is a success, and a failure is silence: the responder
    /// counts it as [`unsaid`](crate::responder::ResponderStats::unsaid), and the caller times out.
    pub status: bool,
    /// How long the caller waits, exactly. Without it the responder takes the dialect's
    /// [default](Dialect::default_timeout).
    pub deadline: bool,
    /// User properties: credentials, signatures, trace context.
    pub user_properties: bool,
    /// What the payload is.
    pub content_type: bool,
}

impl Carries {
    /// As MQTT 5 has it.
    pub const EVERYTHING: Self =
        Self { status: true, deadline: true, user_properties: true, content_type: true };
    /// The payload alone.
    pub const PAYLOAD: Self =
        Self { status: false, deadline: false, user_properties: false, content_type: false };

    /// With a status.
    pub const fn with_status(self) -> Self {
        Self { status: true, ..self }
    }
}

/// Whom a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addressee {
    /// What the device may call itself in the client identifier or the user name of its CONNECT; one
    /// that matches is enough.
    pub names: Vec<String>,
    /// Whether the device takes requests that it has not subscribed to.
    pub pushed: bool,
}

impl Addressee {
    /// A device with these names, which subscribes to its requests.
    pub fn new(names: Vec<String>) -> Self {
        Self { names, pushed: false }
    }

    /// Says that the device takes requests that it has not subscribed to.
    pub fn pushed(self) -> Self {
        Self { pushed: true, ..self }
    }
}

/// What a request's id looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdFormat {
    /// A ULID as 16 bytes. Its random part is fresh for each request, so it cannot be guessed.
    Ulid,
    /// A ULID as 26 characters of Crockford's base 32, for what carries only text.
    UlidText,
    /// A random positive number in decimal digits, below two to the power of `bits` (at most 63).
    Decimal {
        /// How many.
        bits: u32,
    },
    /// Numbers of one range, for peers that take short ids only. They come round again, so the
    /// requester lends them: the one that was used least recently first, and none for which the answer to
    /// an earlier call would be [taken](Dialect::request_key) for the new one's, before the `quarantine` of
    /// that call is over. When none is left, a call fails with
    /// [`Overloaded`](crate::RequestError::Overloaded). Let one requester call a device: two do not know
    /// of each other's numbers. A requester lends one set of numbers to all the devices that it calls.
    ///
    /// Where the key has the device in it, a number rests for its device only. One
    /// [device](Dialect::device) can have 1,024 at rest: calls to it are overloaded then. All devices can
    /// have 262,144; numbers beyond these rest for everybody.
    Short {
        /// The first number.
        first: u16,
        /// The last number; with as many digits as the first.
        last: u16,
        /// How long a number rests when its answer may still come.
        quarantine: Duration,
    },
}

/// What a requester hands to [`Dialect::encode_request`].
#[derive(Debug)]
pub struct OutgoingRequest<'a> {
    /// The request.
    pub request: Request,
    /// Its id, in the dialect's [`IdFormat`].
    pub id: &'a Bytes,
    /// The topic for the answer that the link gave this requester.
    pub response_topic: &'a TopicName,
    /// How long the caller still waits.
    pub left: Duration,
}

/// What [`Dialect::decode_request`] makes of a message.
#[derive(Debug)]
pub struct IncomingRequest {
    /// The request, as the handler gets it.
    pub request: Request,
    /// Where its answer goes.
    pub reply_to: ReplyTo,
    /// How long the caller still waits, when the message says so. Zero: the caller is gone.
    pub left: Option<Duration>,
}

/// Where a captured request must be answered. Opaque: only the dialect that made it reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    topic: TopicName,
    correlation_data: Option<Bytes>,
    qos: Qos,
}

impl ReplyTo {
    /// An answer to `topic`, with the QoS of the request.
    pub fn new(topic: TopicName, correlation_data: Option<Bytes>, qos: Qos) -> Self {
        Self { topic, correlation_data, qos }
    }

    /// The topic of the answer.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// What pairs the answer with its request, when that is not the topic.
    pub fn correlation_data(&self) -> Option<&Bytes> {
        self.correlation_data.as_ref()
    }

    /// The answer's delivery guarantee.
    pub fn qos(&self) -> Qos {
        self.qos
    }
}

/// A message that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct Malformed {
    what: &'static str,
    reply_to: Option<Box<ReplyTo>>,
}

impl Malformed {
    /// Says what is wrong.
    pub fn new(what: &'static str) -> Self {
        Self { what, reply_to: None }
    }

    /// Says where the refusal can be sent.
    pub fn reply_to(self, reply_to: ReplyTo) -> Self {
        Self { reply_to: Some(Box::new(reply_to)), ..self }
    }

    pub(crate) fn into_parts(self) -> (&'static str, Option<Box<ReplyTo>>) {
        (self.what, self.reply_to)
    }
}

/// Whole seconds, rounded up: zero would mean that the message has expired.
fn expiry(left: Duration) -> u32 {
    u32::try_from(left.as_millis().div_ceil(1000).max(1)).unwrap_or(u32::MAX)
}

/// How long a caller waits of whom only the Message Expiry Interval is known: never longer than by
/// default.
fn left(request: &Message, default: Duration) -> Duration {
    let expiry = request.properties.message_expiry.map(|s| Duration::from_secs(s.into()));
    expiry.map_or(default, |expiry| expiry.min(default))
}

/// Why a retained request is refused.
const RETAINED: &str = "a retained message is not a request: it would be executed again and again";
