//! What services exchange: [`Request`] and [`Response`]. Reads no clock.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::packet::{Qos, Text, UserProperties};
use crate::core::template::TopicTemplate;
use crate::core::topic::TopicName;
use crate::error::InvalidRequest;

/// A question, on its way to a responder or as a handler receives it.
///
/// ```
/// use std::time::Duration;
/// use tower_mqtt::Request;
///
/// let request = Request::new("recipes/soup/get", r#"{"name":"miso soup"}"#)?
///     .with_content_type("application/json")
///     .timeout(Duration::from_secs(2));
/// assert_eq!(request.topic().as_str(), "recipes/soup/get");
/// # Ok::<_, tower_mqtt::InvalidRequest>(())
/// ```
#[derive(Debug, Clone)]
pub struct Request {
    parts: Parts,
    payload: Bytes,
}

/// Everything of a [`Request`] but its payload.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Parts {
    /// Where the request is published.
    pub topic: TopicName,
    /// What the payload is, as a MIME type by convention.
    pub content_type: Option<Text>,
    /// User properties. Those that the dialect writes itself (`timeout-ms`) are not among them.
    pub user_properties: UserProperties,
    /// The delivery guarantee of each hop; the response is sent with the same one.
    pub qos: Qos,
    /// The longest that the call may take, counted from when it is made. `None` is the requester's
    /// default.
    pub timeout: Option<Duration>,
    /// When the call must be over. On a requester the earlier of this and `timeout` counts; on a
    /// responder it is when the caller stops waiting.
    pub deadline: Option<Instant>,
    /// What pairs the answer with this request. `None` on a requester: a fresh one is made.
    pub correlation_data: Option<Bytes>,
    /// On a responder: where the answer goes. A requester ignores it.
    pub response_topic: Option<TopicName>,
    /// Executing the request twice does no harm, so it may be sent again when nobody knows whether
    /// it was executed. Not sent to the responder.
    pub idempotent: bool,
    /// What layers tell each other and the handler. Not sent.
    pub extensions: Extensions,
    /// The template of the route that a router has found.
    pub(crate) route: Option<TopicTemplate>,
}

impl Parts {
    /// The parts of a plain request to `topic`.
    pub fn new(topic: TopicName) -> Self {
        Self {
            topic,
            content_type: None,
            user_properties: UserProperties::new(),
            qos: Qos::default(),
            timeout: None,
            deadline: None,
            correlation_data: None,
            response_topic: None,
            idempotent: false,
            extensions: Extensions::new(),
            route: None,
        }
    }
}

impl Request {
    /// A request to `topic` at QoS 1.
    ///
    /// # Errors
    /// [`InvalidRequest::Topic`] when `topic` is not a topic name.
    pub fn new(topic: impl AsRef<str>, payload: impl Into<Bytes>) -> Result<Self, InvalidRequest> {
        Ok(Self::to(TopicName::new(topic.as_ref())?, payload))
    }

    /// A request to a topic that was parsed before, at QoS 1.
    pub fn to(topic: TopicName, payload: impl Into<Bytes>) -> Self {
        Self::from_parts(Parts::new(topic), payload.into())
    }

    /// A request whose payload is `value` as JSON, with the content type that says so.
    ///
    /// # Errors
    /// [`InvalidRequest::Topic`] when `topic` is not a topic name, [`InvalidRequest::Payload`] when
    /// `value` has no JSON form.
    #[cfg(feature = "json")]
    pub fn json_from(
        topic: impl AsRef<str>,
        value: &(impl serde::Serialize + ?Sized),
    ) -> Result<Self, InvalidRequest> {
        let payload = serde_json::to_vec(value)
            .map_err(|error| InvalidRequest::Payload(error.to_string().into()))?;
        Ok(Self::new(topic, payload)?.with_content_type(JSON))
    }

    /// Reads the payload as JSON, whatever the content type says.
    ///
    /// ```
    /// use tower_mqtt::Request;
    ///
    /// let request = Request::json_from("tables/7/order", &["miso soup"])?;
    /// assert_eq!(request.json::<Vec<String>>()?, ["miso soup"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`DecodeError`] when the payload is not JSON of this shape.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, DecodeError> {
        serde_json::from_slice(&self.payload).map_err(|error| DecodeError::new(&error))
    }

    /// Puts a request together.
    pub fn from_parts(parts: Parts, payload: Bytes) -> Self {
        Self { parts, payload }
    }

    /// Takes a request apart.
    pub fn into_parts(self) -> (Parts, Bytes) {
        (self.parts, self.payload)
    }

    /// Where the request is published.
    pub fn topic(&self) -> &TopicName {
        &self.parts.topic
    }

    /// What it says.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Everything but the payload.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Everything but the payload, to change it.
    pub fn parts_mut(&mut self) -> &mut Parts {
        &mut self.parts
    }

    /// Says what the payload is.
    pub fn with_content_type(mut self, content_type: impl Into<Text>) -> Self {
        self.parts.content_type = Some(content_type.into());
        self
    }

    /// Adds a user property.
    pub fn with_user_property(mut self, name: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.parts.user_properties.push(name, value);
        self
    }

    /// Limits how long the call may take, from when it is made.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.parts.timeout = Some(timeout);
        self
    }

    /// Says when the call must be over.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.parts.deadline = Some(deadline);
        self
    }

    /// Chooses the delivery guarantee. At QoS 0 a broker cannot say that nobody is subscribed.
    pub fn qos(mut self, qos: Qos) -> Self {
        self.parts.qos = qos;
        self
    }

    /// Declares that executing the request twice does no harm.
    pub fn idempotent(mut self) -> Self {
        self.parts.idempotent = true;
        self
    }

    /// Gives the request its correlation data, instead of a fresh one for each call.
    ///
    /// It says that requests with the same data are the same request (attempts of one call): the
    /// answer to one completes them all, and a responder that deduplicates executes one of them.
    ///
    /// A dialect whose ids are numbers ([`Decimal`](crate::dialect::IdFormat::Decimal),
    /// [`Short`](crate::dialect::IdFormat::Short)) cannot carry it: there it is ignored, and each
    /// attempt has an id of its own.
    pub fn correlation_data(mut self, data: impl Into<Bytes>) -> Self {
        self.parts.correlation_data = Some(data.into());
        self
    }
}

/// An answer.
///
/// ```
/// use tower_mqtt::{Response, Status};
///
/// let response = Response::error(Status::NOT_FOUND.with_message("no such dish"));
/// assert!(!response.status().is_success());
/// assert_eq!(response.error_for_status().unwrap_err().to_string(), "404 not found: no such dish");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Response {
    status: Status,
    payload: Bytes,
    content_type: Option<Text>,
    user_properties: UserProperties,
    extensions: Extensions,
}

impl Response {
    /// A success with this payload.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }

    /// An answer with this status and no payload.
    pub fn error(status: impl Into<Status>) -> Self {
        Self { status: status.into(), ..Self::default() }
    }

    /// A success whose payload is `value` as JSON, with the content type that says so. A value that
    /// has no JSON form becomes a 500.
    #[cfg(feature = "json")]
    pub fn json_from(value: &(impl serde::Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(payload) => Self::new(payload).with_content_type(JSON),
            Err(error) => {
                tracing::error!(%error, "an answer has no JSON form");
                Self::error(Status::INTERNAL)
            }
        }
    }

    /// How it went.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// What the answer says.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The payload alone.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// What the payload is, when the responder said so.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// User properties. Those that the dialect reads itself (`status`) are not among them.
    pub fn user_properties(&self) -> &UserProperties {
        &self.user_properties
    }

    /// User properties, to change them.
    pub fn user_properties_mut(&mut self) -> &mut UserProperties {
        &mut self.user_properties
    }

    /// What layers tell each other and the caller. Not sent.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What layers tell each other and the caller, to change it.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Says what the payload is.
    pub fn with_content_type(mut self, content_type: impl Into<Text>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Changes how it went.
    pub fn with_status(mut self, status: impl Into<Status>) -> Self {
        self.status = status.into();
        self
    }

    /// Adds a user property.
    pub fn with_user_property(mut self, name: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.user_properties.push(name, value);
        self
    }

    /// The response if it is a success, else its status.
    ///
    /// # Errors
    /// The [`Status`] when it is not one of the 2xx.
    pub fn error_for_status(self) -> Result<Self, Status> {
        if self.status.is_success() { Ok(self) } else { Err(self.status) }
    }

    /// Reads the payload as JSON.
    ///
    /// # Errors
    /// [`DecodeError`] when the payload is not JSON of this shape.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, DecodeError> {
        serde_json::from_slice(&self.payload).map_err(|error| DecodeError::new(&error))
    }

    pub(crate) fn set_wire(&mut self, content_type: Option<Text>, properties: UserProperties) {
        self.content_type = content_type;
        self.user_properties = properties;
    }

    pub(crate) fn into_wire(self) -> (Status, Bytes, Option<Text>, UserProperties) {
        (self.status, self.payload, self.content_type, self.user_properties)
    }
}

/// A payload is not JSON, or not of the shape that was asked for. It says where, and never quotes
/// the payload.
#[cfg(feature = "json")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is not JSON.
    #[error("not JSON: line {line} column {column}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// It is JSON of another shape.
    #[error("JSON of an unexpected shape: line {line} column {column}")]
    Shape {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
}

#[cfg(feature = "json")]
impl DecodeError {
    /// serde's own text may quote the payload, so only the place is taken from it.
    pub(crate) fn new(error: &serde_json::Error) -> Self {
        use serde_json::error::Category;

        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => Self::Shape { line, column },
            Category::Syntax | Category::Eof | Category::Io => Self::Syntax { line, column },
        }
    }
}

#[cfg(feature = "json")]
pub(crate) const JSON: &str = "application/json";

/// How a request went, as a number with HTTP's meaning (RFC 9110 §15) and an optional message.
///
/// ```
/// use tower_mqtt::Status;
///
/// assert!(Status::OK.is_success());
/// assert_eq!(Status::new(429).to_string(), "429 too many requests");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    code: u16,
    message: Option<Text>,
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)+) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self { code: $code, message: None };)+

            /// The name of the code in lower case.
            pub const fn name(&self) -> &'static str {
                match self.code {
                    $($code => $text,)+
                    _ => "status",
                }
            }
        }
    };
}

statuses! {
    /// 200: done. The default; absent on the wire.
    OK = 200, "ok";
    /// 204: done, and there is nothing to say.
    NO_CONTENT = 204, "no content";
    /// 400: the request cannot be understood.
    BAD_REQUEST = 400, "bad request";
    /// 401: the caller has not proved who it is.
    UNAUTHORIZED = 401, "unauthorized";
    /// 403: the caller may not do this.
    FORBIDDEN = 403, "forbidden";
    /// 404: no such route, or no such thing.
    NOT_FOUND = 404, "not found";
    /// 408: the responder's own time limit passed. How much of the work is done is not known.
    TIMEOUT = 408, "timeout";
    /// 409: contradicts the present state.
    CONFLICT = 409, "conflict";
    /// 413: the payload is larger than the responder accepts.
    TOO_LARGE = 413, "payload too large";
    /// 415: the payload is of a kind that the handler does not read.
    UNSUPPORTED_TYPE = 415, "unsupported content type";
    /// 429: the caller asks too often.
    TOO_MANY_REQUESTS = 429, "too many requests";
    /// 499: the caller went away.
    CANCELLED = 499, "cancelled";
    /// 500: the handler failed.
    INTERNAL = 500, "internal error";
    /// 501: the responder does not do this.
    NOT_IMPLEMENTED = 501, "not implemented";
    /// 502: a call that the responder made for this one has failed; what it asked for may have been done.
    BAD_GATEWAY = 502, "bad gateway";
    /// 503: the responder has not begun, as it is too busy. Asking again later may help.
    UNAVAILABLE = 503, "unavailable";
}

impl Status {
    /// A status of any number.
    pub const fn new(code: u16) -> Self {
        Self { code, message: None }
    }

    /// The number.
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// What the responder said about it.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Says more. It is sent to the caller: no secrets.
    pub fn with_message(self, message: impl Into<Text>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    /// Whether it is one of the 2xx.
    pub const fn is_success(&self) -> bool {
        matches!(self.code, 200..=299)
    }

    /// Whether it says that asking again later may help, and so that this request was not executed.
    pub(crate) const fn invites_retry(&self) -> bool {
        matches!(self.code, 429 | 503)
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::OK
    }
}

impl From<u16> for Status {
    fn from(code: u16) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.name())?;
        self.message().map_or(Ok(()), |message| write!(f, ": {message}"))
    }
}

impl std::error::Error for Status {}

/// Values by their type: what layers tell each other and the handler.
///
/// Values are cloned with the request, as a retry clones it.
///
/// ```
/// use tower_mqtt::Extensions;
///
/// #[derive(Clone, PartialEq, Debug)]
/// struct Caller(&'static str);
///
/// let mut extensions = Extensions::new();
/// extensions.insert(Caller("M7"));
/// assert_eq!(extensions.get::<Caller>(), Some(&Caller("M7")));
/// ```
#[derive(Clone, Default)]
#[expect(clippy::box_collection, reason = "requests are moved often, and most have no extensions")]
pub struct Extensions(Option<Box<HashMap<TypeId, Box<dyn Extension>>>>);

trait Extension: Any + Send + Sync {
    fn clone_box(&self) -> Box<dyn Extension>;
    fn as_any(&self) -> &dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<T: Clone + Send + Sync + 'static> Extension for T {
    fn clone_box(&self) -> Box<dyn Extension> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Clone for Box<dyn Extension> {
    fn clone(&self) -> Self {
        (**self).clone_box()
    }
}

impl Extensions {
    /// Nothing. Does not allocate.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Puts a value in and returns the one of the same type that was there.
    pub fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> Option<T> {
        let old = self.0.get_or_insert_default().insert(TypeId::of::<T>(), Box::new(value));
        old.and_then(|old| old.into_any().downcast().ok()).map(|old| *old)
    }

    /// The value of this type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        (**self.0.as_ref()?.get(&TypeId::of::<T>())?).as_any().downcast_ref()
    }

    /// Takes the value of this type out.
    pub fn remove<T: Send + Sync + 'static>(&mut self) -> Option<T> {
        let value = self.0.as_mut()?.remove(&TypeId::of::<T>())?;
        value.into_any().downcast().ok().map(|value| *value)
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions").field("len", &self.0.as_ref().map_or(0, |m| m.len())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_cloned_with_their_values() {
        let mut first = Extensions::new();
        assert_eq!(first.insert(7_u32), None);
        assert_eq!(first.insert(8_u32), Some(7));
        let mut second = first.clone();
        assert_eq!(second.remove::<u32>(), Some(8));
        assert_eq!(second.get::<u32>(), None);
        assert_eq!(first.get::<u32>(), Some(&8));
        assert_eq!(first.get::<u64>(), None);
    }

    #[test]
    fn a_status_says_its_number_its_name_and_its_message() {
        assert_eq!(Status::OK.to_string(), "200 ok");
        assert_eq!(Status::new(299).to_string(), "299 status");
        assert!(Status::new(299).is_success());
        let status = Status::FORBIDDEN.with_message("not your lock");
        assert_eq!(status.to_string(), "403 forbidden: not your lock");
        assert_eq!(status.message(), Some("not your lock"));
    }
}
