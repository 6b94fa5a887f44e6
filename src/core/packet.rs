//! Our own view of an Application Message (MQTT 5 §3.3), free of any client library's types.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::topic::TopicName;

/// How hard the sender and the receiver of one hop try to deliver a message (MQTT 5 §4.3).
///
/// There is no QoS 2: an exchange that must not be executed twice is protected end to end by its
/// correlation data, which QoS 2 on one hop cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Qos {
    /// QoS 0: sent once, never acknowledged. Nobody reports that nobody is subscribed.
    AtMostOnce,
    /// QoS 1, the default: acknowledged by the next hop, which may say that nobody is subscribed.
    #[default]
    AtLeastOnce,
}

/// The outcome that an acknowledgement packet carries (MQTT 5 §2.4).
///
/// ```
/// use tower_mqtt::core::packet::ReasonCode;
///
/// assert!(ReasonCode::NOT_AUTHORIZED.is_error());
/// assert!(!ReasonCode::NO_MATCHING_SUBSCRIBERS.is_error());
/// assert_eq!(ReasonCode::NOT_AUTHORIZED.to_string(), "not authorized (0x87)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReasonCode(u8);

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)+) => {
        impl ReasonCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)+

            /// The name that the standard gives the code, in lower case.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($code => $text,)+
                    _ => "unknown reason code",
                }
            }
        }
    };
}

reason_codes! {
    /// The packet was accepted; for a SUBACK: granted QoS 0.
    SUCCESS = 0x00, "success";
    /// SUBACK: the subscription was accepted with QoS 1 at most.
    GRANTED_QOS_1 = 0x01, "granted QoS 1";
    /// The message was accepted, but nobody is subscribed to its topic.
    NO_MATCHING_SUBSCRIBERS = 0x10, "no matching subscribers";
    /// UNSUBACK: there was no such subscription.
    NO_SUBSCRIPTION_EXISTED = 0x11, "no subscription existed";
    /// The receiver does not say why.
    UNSPECIFIED_ERROR = 0x80, "unspecified error";
    /// A packet could not be parsed.
    MALFORMED_PACKET = 0x81, "malformed packet";
    /// A packet was not allowed at this point of the protocol.
    PROTOCOL_ERROR = 0x82, "protocol error";
    /// The packet is valid, but this receiver does not process it.
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, "implementation specific error";
    /// CONNACK: the server does not speak this protocol version.
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "unsupported protocol version";
    /// CONNACK: the client identifier is not allowed.
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "client identifier not valid";
    /// CONNACK: wrong user name or password.
    BAD_USER_NAME_OR_PASSWORD = 0x86, "bad user name or password";
    /// The sender may not do this.
    NOT_AUTHORIZED = 0x87, "not authorized";
    /// CONNACK: the server is not available.
    SERVER_UNAVAILABLE = 0x88, "server unavailable";
    /// The server is busy: try again later.
    SERVER_BUSY = 0x89, "server busy";
    /// CONNACK: this client is banned.
    BANNED = 0x8A, "banned";
    /// DISCONNECT: the server is shutting down.
    SERVER_SHUTTING_DOWN = 0x8B, "server shutting down";
    /// DISCONNECT: nothing was received for one and a half keep-alive intervals.
    KEEP_ALIVE_TIMEOUT = 0x8D, "keep alive timeout";
    /// DISCONNECT: another connection with the same client identifier took the session.
    SESSION_TAKEN_OVER = 0x8E, "session taken over";
    /// The topic filter is well formed but not accepted.
    TOPIC_FILTER_INVALID = 0x8F, "topic filter invalid";
    /// The topic name is well formed but not accepted.
    TOPIC_NAME_INVALID = 0x90, "topic name invalid";
    /// The packet identifier is already in use.
    PACKET_IDENTIFIER_IN_USE = 0x91, "packet identifier in use";
    /// The packet is larger than the receiver accepts.
    PACKET_TOO_LARGE = 0x95, "packet too large";
    /// The receiver's queue or quota is full.
    QUOTA_EXCEEDED = 0x97, "quota exceeded";
    /// The payload does not match its Payload Format Indicator.
    PAYLOAD_FORMAT_INVALID = 0x99, "payload format invalid";
    /// The server does not retain messages.
    RETAIN_NOT_SUPPORTED = 0x9A, "retain not supported";
    /// The server does not support this QoS.
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported";
    /// The server does not support shared subscriptions.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "shared subscriptions not supported";
    /// The server does not support wildcard subscriptions.
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// The code as it stands in the packet.
    pub const fn new(code: u8) -> Self {
        Self(code)
    }

    /// The code as it stands in the packet.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether the operation failed: a code of 0x80 or greater (MQTT 5 §2.4).
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.name(), self.0)
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReasonCode({self})")
    }
}

/// Text of a property: borrowed when it is one of the names that this crate knows.
pub type Text = Cow<'static, str>;

/// User properties: pairs of names and values, in order, names may repeat (MQTT 5 §3.3.2.3.7).
///
/// ```
/// use tower_mqtt::core::packet::UserProperties;
///
/// let mut properties = UserProperties::new();
/// properties.push("traceparent", "00-…");
/// assert_eq!(properties.get("traceparent"), Some("00-…"));
/// assert_eq!(properties.get("status"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserProperties(Vec<(Text, Text)>);

impl UserProperties {
    /// No properties. Does not allocate.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends a pair.
    pub fn push(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        self.0.push((name.into(), value.into()));
    }

    /// The value of the first property called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// Removes every property called `name` and returns the value of the first.
    pub fn remove(&mut self, name: &str) -> Option<Text> {
        let first = self.0.iter().position(|(n, _)| n == name)?;
        let (_, value) = self.0.remove(first);
        self.0.retain(|(n, _)| n != name);
        Some(value)
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))
    }

    /// All pairs in order, with the knowledge of which texts are borrowed.
    #[cfg(all(test, feature = "ntex"))]
    pub(crate) fn pairs(&self) -> impl ExactSizeIterator<Item = &(Text, Text)> {
        self.0.iter()
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Text>, V: Into<Text>> Extend<(N, V)> for UserProperties {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, pairs: I) {
        self.0.extend(pairs.into_iter().map(|(n, v)| (n.into(), v.into())));
    }
}

impl<N: Into<Text>, V: Into<Text>> FromIterator<(N, V)> for UserProperties {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut properties = Self::new();
        properties.extend(pairs);
        properties
    }
}

/// The properties of a PUBLISH packet that concern the application (MQTT 5 §3.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// Where the answer goes. A message whose Response Topic is no topic name [MQTT-3.3.2-14] is
    /// refused before it gets here.
    pub response_topic: Option<TopicName>,
    /// What pairs the answer with its request.
    pub correlation_data: Option<Bytes>,
    /// Message Expiry Interval: seconds after which a broker discards the message.
    pub message_expiry: Option<u32>,
    /// What the payload is, as a MIME type by convention.
    pub content_type: Option<Text>,
    /// Payload Format Indicator 1: the payload is UTF-8 text.
    pub utf8_payload: bool,
    /// User properties.
    pub user: UserProperties,
}

/// An Application Message as a PUBLISH packet carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it is published.
    pub topic: TopicName,
    /// What it says.
    pub payload: Bytes,
    /// The delivery guarantee of this hop.
    pub qos: Qos,
    /// The broker keeps it for later subscribers, or kept it.
    pub retain: bool,
    /// It may have been delivered before.
    pub dup: bool,
    /// Everything else.
    pub properties: Properties,
}

impl Message {
    /// A message with QoS 1 and no properties.
    pub fn new(topic: TopicName, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: Qos::default(),
            retain: false,
            dup: false,
            properties: Properties::default(),
        }
    }

    /// About how many bytes the message takes on the wire: what queue bounds are counted in.
    pub fn size(&self) -> usize {
        let properties = &self.properties;
        let text = |t: &Option<Text>| t.as_ref().map_or(0, |t| t.len());
        self.topic.as_str().len()
            + self.payload.len()
            + properties.response_topic.as_ref().map_or(0, |topic| topic.as_str().len())
            + text(&properties.content_type)
            + properties.correlation_data.as_ref().map_or(0, Bytes::len)
            + properties.user.iter().map(|(n, v)| n.len() + v.len() + 5).sum::<usize>()
            + 16
    }
}

/// What to subscribe to, and how (MQTT 5 §3.8.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The topics.
    pub filter: super::topic::TopicFilter,
    /// The greatest QoS at which messages are to come.
    pub qos: Qos,
    /// Do not send this client its own messages back.
    pub no_local: bool,
}

impl Subscription {
    /// A subscription at QoS 1 that also receives the client's own messages.
    pub fn new(filter: super::topic::TopicFilter) -> Self {
        Self { filter, qos: Qos::AtLeastOnce, no_local: false }
    }
}
