//! How one request and its response are written on topics. Pure: a dialect holds no connection,
//! reads no clock and draws no random number.
//!
//! | dialect | request to | answer to | pairs by |
//! |---|---|---|---|
//! | [`Native`] | the topic itself | Response Topic | Correlation Data |
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
//! - [`Dialect::response_id`] is asked for every message that the requester's subscription brings,
//!   so it says `None` to what is not an answer;
//! - the id is what a stranger could guess: use [`IdFormat::UlidText`] unless the peers cannot
//!   carry it.

mod native;

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

pub use self::native::Native;
use crate::core::packet::Qos;
pub use crate::core::packet::{Message, Subscription};
use crate::core::topic::{TopicFilter, TopicName};
use crate::error::InvalidRequest;
use crate::message::{Request, Response};

/// How one request and its response are written on topics.
pub trait Dialect: Debug + Send + Sync + 'static {
    /// The dialect's name, for errors and logs.
    fn name(&self) -> &'static str;

    /// How long a call waits when nobody says otherwise.
    ///
    /// 10 s by default: long enough for a device on a slow link, short enough for a person.
    fn default_timeout(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// What ids look like. 16 bytes by default.
    fn id_format(&self) -> IdFormat {
        IdFormat::Ulid
    }

    /// What a requester subscribes to for its answers. `response_topic` is the one that the link
    /// gave it; a dialect whose answers come elsewhere ignores it.
    fn response_subscription(&self, response_topic: &TopicName) -> Subscription;

    /// Writes a request.
    ///
    /// # Errors
    /// [`InvalidRequest`] when the dialect has no way to write it.
    fn encode_request(&self, request: OutgoingRequest<'_>) -> Result<Message, InvalidRequest>;

    /// Writes anew how much time is left into a request that is sent a second time. Nothing by
    /// default, for dialects that do not carry it.
    fn restamp(&self, _message: &mut Message, _left: Duration) {}

    /// The id of the request that `message` answers, or `None` when it is not an answer to this
    /// requester. Asked for every message that arrives, so it must be cheap.
    fn response_id(&self, message: &Message, response_topic: &TopicName) -> Option<Bytes>;

    /// Reads an answer.
    ///
    /// # Errors
    /// [`Malformed`] when it is not one; it is dropped and counted.
    fn decode_response(&self, message: Message) -> Result<Response, Malformed>;

    /// What a responder subscribes to for a route. The route itself by default.
    fn request_subscription(&self, route: &TopicFilter) -> Subscription {
        Subscription::new(route.clone())
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`Malformed`] when it is not one, with where the refusal goes if that much could be read.
    fn decode_request(&self, message: Message) -> Result<IncomingRequest, Malformed>;

    /// Writes an answer. `left` is how long the caller still waits, when that is known.
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
}

/// What a request's id looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdFormat {
    /// A ULID as 16 bytes. Its random part is fresh for each request, so it cannot be guessed.
    Ulid,
    /// A ULID as 26 characters of Crockford's base 32, for what carries only text.
    UlidText,
}

/// What a requester hands to [`Dialect::encode_request`].
#[derive(Debug)]
pub struct OutgoingRequest<'a> {
    /// The request.
    pub request: Request,
    /// Its id, in the dialect's [`IdFormat`] or as the caller chose it.
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
