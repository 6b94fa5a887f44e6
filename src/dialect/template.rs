//! Any scheme that puts the id of a request into its topics, given as lines.
//!
//! | scheme | lines | shown by |
//! |---|---|---|
//! | Aliyun, Tencent | see [`rrpc`](super::rrpc) | |
//! | Azure IoT Hub direct methods | [`azure_direct_methods`] | the status is a level, the id follows `?$rid=` |
//! | Huawei IoTDA commands | [`huawei_commands`] | the id is a part of a level |
//!
//! # Your own
//!
//! A scheme is three lines. An address says who is asked and for what: it is the topic of a
//! [`Request`], of a route and of a handler. The other two say where requests and answers go:
//!
//! ```
//! use tower_mqtt::dialect::template::{Lines, Template};
//!
//! let uiot = Template::new(
//!     "ucloud-uiot",
//!     Lines {
//!         address: "{product}/{device}",
//!         request: "/$system/{product}/{device}/rrpc/request/{id}",
//!         response: "/$system/{product}/{device}/rrpc/response/{id}",
//!     },
//! )?;
//! # drop(uiot);
//! # Ok::<(), tower_mqtt::dialect::template::LineError>(())
//! ```
//!
//! An exercise: devices of [ThingsBoard](https://thingsboard.io/docs/reference/mqtt-api/) subscribe to
//! `v1/devices/me/rpc/request/+`, get JSON with `method` and `params`, and answer to
//! `v1/devices/me/rpc/response/{id}`; ids are integers, and a call takes 10 s by default. Which device it
//! is, is known from its connection. What are the lines?
//!
//! ```
//! use std::time::Duration;
//!
//! use tower::ServiceExt;
//! use tower_mqtt::dialect::IdFormat;
//! use tower_mqtt::dialect::template::{Lines, Template};
//! use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // There is nothing to address, so the address is one word.
//! let thingsboard = Template::new(
//!     "thingsboard",
//!     Lines {
//!         address: "rpc",
//!         request: "v1/devices/me/rpc/request/{id}",
//!         response: "v1/devices/me/rpc/response/{id}",
//!     },
//! )?
//! .ids(IdFormat::Decimal { bits: 31 })
//! .default_timeout(Duration::from_secs(10));
//!
//! let (server, device) = memory::pair();
//! let router = Router::new().route("rpc", async |question: String| format!("{question}: done"));
//! let responder = Responder::builder(device).dialect(thingsboard.clone()).serve(router).await?;
//!
//! let requester = Requester::builder(server).dialect(thingsboard).build().await?;
//! let answer = requester.oneshot(Request::new("rpc", r#"{"method":"reboot"}"#)?).await?;
//! assert_eq!(answer.payload(), r#"{"method":"reboot"}: done"#);
//! # drop(responder);
//! # Ok(())
//! # }
//! ```

mod lines;

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use self::lines::{ID, STATUS};
pub use self::lines::{LineError, Lines};
use super::{
    Addressee, Carries, Dialect, IdFormat, IncomingRequest, Malformed, OutgoingRequest, RETAINED,
    ReplyTo, Subscription, expiry, left,
};
use crate::core::packet::{Message, Qos, Text};
use crate::core::template::{Captures, TopicTemplate};
use crate::core::topic::{TopicFilter, TopicName};
use crate::error::InvalidRequest;
use crate::message::{Parts, Request, Response, Status};

/// Direct methods of Azure IoT Hub, between the hub and one device: the address is the method's name.
///
/// 30 s by default. ([Source](https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-direct-methods))
///
/// # Panics
/// Never: the lines are right.
pub fn azure_direct_methods() -> Template {
    let lines = Lines {
        address: "{method}",
        request: "$iothub/methods/POST/{method}/?$rid={id}",
        response: "$iothub/methods/res/{status}/?$rid={id}",
    };
    Template::of("azure-direct-methods", lines)
        .default_timeout(Duration::from_secs(30))
        .answers_at(Qos::AtMostOnce)
}

/// Commands of Huawei IoTDA: the address is the device's id. How it went stands in the payload, as
/// `result_code`, which is the application's to read.
///
/// 20 s by default. ([Source](https://support.huaweicloud.com/api-iothub/iot_06_v5_3008.html))
///
/// # Panics
/// Never: the lines are right.
pub fn huawei_commands() -> Template {
    let lines = Lines {
        address: "{device}",
        request: "$oc/devices/{device}/sys/commands/request_id={id}",
        response: "$oc/devices/{device}/sys/commands/response/request_id={id}",
    };
    Template::of("huawei-commands", lines).default_timeout(Duration::from_secs(20))
}

/// A dialect that is nothing but the form of its topics.
///
/// It carries the payload, and the status where the answer's topic has a place for it; see
/// [`Carries`] for what becomes of the rest. As a requester it also writes a Message Expiry
/// Interval, so that a server does not keep a request that nobody waits for. As a responder it takes
/// what is left of that, or the default timeout, as the caller's deadline.
#[derive(Debug, Clone)]
pub struct Template {
    name: &'static str,
    address: TopicTemplate,
    /// What is written, then what else is read.
    requests: Vec<TopicTemplate>,
    response: TopicTemplate,
    /// Requests and answers go to one topic.
    same_topic: bool,
    /// The answer's topic says how it went.
    has_status: bool,
    ids: IdFormat,
    default_timeout: Duration,
    timeouts: RangeInclusive<Duration>,
    answers_at: Option<Qos>,
    pushed: bool,
    client_names: fn(product: &str, device: &str) -> Vec<String>,
}

/// On a request whose answer goes to the same topic: a server without No Local sends it back to the
/// requester, who must not take it for the answer. Devices of MQTT 3.1.1 never see it.
const OWN_REQUEST: &str = "rrpc-request";

impl Template {
    /// A scheme with these lines.
    ///
    /// # Errors
    /// [`LineError`] when a line is no template, or has a capture too many or too few.
    pub fn new(name: &'static str, lines: Lines<'_>) -> Result<Self, LineError> {
        let address = lines::address(lines.address)?;
        let request = lines::request(lines.request, &address)?;
        let response = lines::response(lines.response, &address)?;
        Ok(Self {
            name,
            same_topic: request == response,
            has_status: lines::has(&response, STATUS),
            requests: vec![request],
            response,
            address,
            ids: IdFormat::UlidText,
            default_timeout: Duration::from_secs(10),
            timeouts: Duration::ZERO..=Duration::MAX,
            answers_at: None,
            pushed: false,
            client_names: |_, _| Vec::new(),
        })
    }

    /// One of this crate's own.
    pub(super) fn of(name: &'static str, lines: Lines<'_>) -> Self {
        Self::new(name, lines).expect("the lines of a dialect that is shipped are right")
    }

    /// What ids look like. 26 characters by default, which nobody can guess.
    pub fn ids(self, ids: IdFormat) -> Self {
        Self { ids, ..self }
    }

    /// How long a call waits when nobody says otherwise. 10 s by default.
    pub fn default_timeout(self, timeout: Duration) -> Self {
        Self { default_timeout: timeout, ..self }
    }

    /// What a caller may choose as timeout. Anything by default.
    pub fn timeouts(self, timeouts: RangeInclusive<Duration>) -> Self {
        Self { timeouts, ..self }
    }

    /// The QoS of answers. That of the request by default.
    pub fn answers_at(self, qos: Qos) -> Self {
        Self { answers_at: Some(qos), ..self }
    }

    /// Says that devices take requests which they have not subscribed to, so that a
    /// hub delivers them all the same.
    pub fn pushed(self) -> Self {
        Self { pushed: true, ..self }
    }

    /// Another form in which requests come. It is read, and never written.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn also_reads(mut self, request: &str) -> Result<Self, LineError> {
        self.requests.push(lines::request(request, &self.address)?);
        Ok(self)
    }

    /// What a device may call itself when it connects.
    pub(super) fn client_names(self, names: fn(&str, &str) -> Vec<String>) -> Self {
        Self { client_names: names, ..self }
    }

    /// What an answer on this topic is found by, had it this id instead of its topic's.
    #[cfg(feature = "json")]
    pub(super) fn answer_key(&self, topic: &TopicName, id: &str) -> Option<Bytes> {
        let parts = Parsed::new(&self.response, topic)?;
        self.key(|name| if name == ID { Some(id) } else { parts.get(name) })
    }

    /// The addresses of `onto` that have the values of those of this scheme which `filter` matches.
    #[cfg(feature = "json")]
    pub(super) fn project(&self, filter: &TopicFilter, onto: &Self) -> Option<TopicFilter> {
        self.address.project(filter, &onto.address)
    }

    /// Whether this is an address of the scheme.
    ///
    /// # Errors
    /// What a caller is told when it is not.
    #[cfg(feature = "json")]
    pub(super) fn check(&self, address: &TopicName) -> Result<(), InvalidRequest> {
        self.parts_of(address).map(drop)
    }

    /// What a caller is told whose address is not one of this scheme.
    fn wrong_address(&self) -> InvalidRequest {
        self.invalid(format!("the topic is not like {}", self.address))
    }

    pub(super) fn invalid(&self, what: impl Into<Text>) -> InvalidRequest {
        InvalidRequest::Dialect { dialect: self.name, what: what.into() }
    }

    fn parts_of<'a>(&'a self, address: &'a TopicName) -> Result<Parsed<'a>, InvalidRequest> {
        Parsed::new(&self.address, address).ok_or_else(|| self.wrong_address())
    }

    /// A request's topic, with the form that it has.
    fn request<'a>(&'a self, topic: &'a TopicName) -> Option<Parsed<'a>> {
        self.requests.iter().find_map(|template| Parsed::new(template, topic))
    }

    /// What an answer's topic says beside the status, in the order of its line.
    fn key<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Option<Bytes> {
        let mut key = Vec::with_capacity(64);
        for name in self.response.names().filter(|name| *name != STATUS) {
            key.extend_from_slice(value(name)?.as_bytes());
            key.push(b'/');
        }
        Some(key.into())
    }

    /// An id as text that fits into a level.
    fn id<'a>(&self, id: &'a Bytes) -> Result<&'a str, InvalidRequest> {
        std::str::from_utf8(id).map_err(|_| self.invalid("the id is not text"))
    }

    fn subscription(&self, filter: TopicFilter) -> Subscription {
        Subscription { no_local: self.same_topic, ..Subscription::new(filter) }
    }

    /// Where the answer to a request goes, with this status if there is a place for it.
    fn answer_topic(&self, request: &Parsed<'_>, status: &Status) -> Option<TopicName> {
        let code = if self.has_status { status.code().to_string() } else { String::new() };
        let value = |name: &str| if name == STATUS { Some(&*code) } else { request.get(name) };
        self.response.render(value).ok()
    }

    /// The answer's topic for another status than the one it was made with.
    fn with_status(&self, topic: &TopicName, status: &Status) -> Option<TopicName> {
        self.answer_topic(&Parsed::new(&self.response, topic)?, status)
    }
}

impl Dialect for Template {
    fn name(&self) -> &'static str {
        self.name
    }

    fn default_timeout(&self) -> Duration {
        self.default_timeout
    }

    fn timeouts(&self) -> RangeInclusive<Duration> {
        self.timeouts.clone()
    }

    fn id_format(&self) -> IdFormat {
        self.ids
    }

    fn carries(&self) -> Carries {
        let carries = Carries::PAYLOAD;
        if self.has_status { carries.with_status() } else { carries }
    }

    /// The levels up to the one called `device`.
    fn device<'a>(&self, address: &'a TopicName) -> &'a str {
        let device = Parsed::new(&self.address, address).and_then(|parts| parts.end_of("device"));
        &address.as_str()[..device.unwrap_or(address.as_str().len())]
    }

    fn response_subscription(&self, _: &TopicName, peers: &TopicFilter) -> Option<Subscription> {
        self.address.project(peers, &self.response).map(|filter| self.subscription(filter))
    }

    fn request_key(&self, request: &Request, id: &Bytes) -> Result<Bytes, InvalidRequest> {
        let (id, parts) = (self.id(id)?, self.parts_of(request.topic())?);
        let key = self.key(|name| if name == ID { Some(id) } else { parts.get(name) });
        key.ok_or_else(|| self.wrong_address())
    }

    fn encode_request(&self, outgoing: OutgoingRequest<'_>) -> Result<Message, InvalidRequest> {
        let id = self.id(outgoing.id)?;
        let (parts, payload) = outgoing.request.into_parts();
        let address = self.parts_of(&parts.topic)?;
        let topic = self.requests[0]
            .render(|name| if name == ID { Some(id) } else { address.get(name) })
            .map_err(|error| self.invalid(error.to_string()))?;
        let mut message = Message { qos: parts.qos, ..Message::new(topic, payload) };
        if self.same_topic {
            message.properties.user.push(OWN_REQUEST, "");
        }
        self.restamp(&mut message, outgoing.left);
        Ok(message)
    }

    fn restamp(&self, message: &mut Message, left: Duration) {
        message.properties.message_expiry = Some(expiry(left));
    }

    fn response_key(&self, message: &Message, _: &TopicName) -> Option<Bytes> {
        let parts = Parsed::new(&self.response, &message.topic)?;
        let own =
            self.answers_on_request_topic() && message.properties.user.get(OWN_REQUEST).is_some();
        if own { None } else { self.key(|name| parts.get(name)) }
    }

    fn decode_response(&self, message: Message) -> Result<Response, Malformed> {
        let parts = Parsed::new(&self.response, &message.topic)
            .ok_or(Malformed::new("the topic is not one for answers"))?;
        let status = match parts.get(STATUS).map(str::parse) {
            None => Status::OK,
            Some(Ok(code @ 100..)) => Status::new(code),
            Some(_) => return Err(Malformed::new("the status is not a number from 100 to 65535")),
        };
        Ok(Response::new(message.payload).with_status(status))
    }

    fn request_subscriptions(&self, route: &TopicFilter) -> Vec<Subscription> {
        let filters = self.requests.iter().filter_map(|line| self.address.project(route, line));
        filters.map(|filter| self.subscription(filter)).collect()
    }

    fn decode_request(&self, message: Message) -> Result<IncomingRequest, Malformed> {
        let not_one = Malformed::new("the topic is not one for requests");
        let Some(parts) = self.request(&message.topic) else { return Err(not_one) };
        let Ok(address) = self.address.render(|name| parts.get(name)) else { return Err(not_one) };
        // Byte for byte where it is the request's: a device looks for no other form of it.
        let answer = if self.same_topic {
            Some(message.topic.clone())
        } else {
            self.answer_topic(&parts, &Status::OK)
        };
        let Some(answer) = answer else { return Err(Malformed::new("the id is too long")) };
        let id = parts.get(ID).map(|id| Bytes::copy_from_slice(id.as_bytes()));
        let qos = self.answers_at.unwrap_or(message.qos);
        let reply_to = ReplyTo::new(answer.clone(), id.clone(), qos);
        if message.retain {
            return Err(Malformed::new(RETAINED).reply_to(reply_to));
        }
        let mut request = Parts::new(address);
        request.qos = message.qos;
        request.correlation_data = id;
        request.response_topic = Some(answer);
        let left = Some(left(&message, self.default_timeout));
        let request = Request::from_parts(request, message.payload);
        Ok(IncomingRequest { request, reply_to, left })
    }

    fn encode_response(
        &self,
        reply_to: &ReplyTo,
        response: Response,
        left: Option<Duration>,
    ) -> Result<Message, Malformed> {
        let topic = if *response.status() == Status::OK || !self.has_status {
            reply_to.topic().clone()
        } else {
            self.with_status(reply_to.topic(), response.status())
                .ok_or(Malformed::new("the topic has no place for the status"))?
        };
        let mut message = Message::new(topic, response.into_payload());
        message.qos = reply_to.qos();
        message.properties.message_expiry = left.map(expiry);
        Ok(message)
    }

    fn answers_on_request_topic(&self) -> bool {
        self.same_topic
    }

    fn owns_reserved_topics(&self) -> bool {
        self.response.as_str().starts_with('$')
    }

    fn addressee(&self, topic: &TopicName) -> Option<Addressee> {
        let parts = self.request(topic)?;
        let device = parts.get("device")?;
        let product = parts.get("product");
        let mut names = product.map_or_else(Vec::new, |p| (self.client_names)(p, device));
        let address = self.address.render(|name| parts.get(name)).ok()?;
        names.push(self.device(&address).to_owned());
        let addressee = Addressee::new(names);
        Some(if self.pushed { addressee.pushed() } else { addressee })
    }
}

/// A topic and what its template has captured.
struct Parsed<'a> {
    template: &'a TopicTemplate,
    topic: &'a str,
    captures: Captures,
}

impl<'a> Parsed<'a> {
    fn new(template: &'a TopicTemplate, topic: &'a TopicName) -> Option<Self> {
        let topic = topic.as_str();
        Some(Self { template, topic, captures: template.capture(topic)? })
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.template.names().position(|known| known == name)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.captures.get(self.topic, self.position(name)?)
    }

    /// Where the value ends in the topic.
    fn end_of(&self, name: &str) -> Option<usize> {
        Some(self.captures.span(self.position(name)?)?.end)
    }
}

#[cfg(test)]
mod tests;
