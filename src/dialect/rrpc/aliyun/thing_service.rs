//! Synchronous services of the thing model, in Alink JSON.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use super::super::super::template::{Lines, Template};
use super::super::super::{
    Addressee, Carries, Dialect, IdFormat, IncomingRequest, Malformed, OutgoingRequest, ReplyTo,
    Subscription,
};
use super::super::json;
use super::alink::{self, Envelope};
use crate::core::packet::Message;
use crate::core::topic::{TopicFilter, TopicName};
use crate::error::InvalidRequest;
use crate::message::{Request, Response};

const NAME: &str = "aliyun-service";

/// Synchronous services: `{product}/{device}/{service}` is asked with `params` and answers with a
/// `code` and `data`, both in Alink JSON.
///
/// For devices with `ext=1` in their client identifier, which take requests that they have not
/// subscribed to: the request to `a1/d1/get` goes to `/ext/rrpc/{id}/sys/a1/d1/thing/service/get`, and
/// the answer to the same topic. For the others see
/// [`over_system_topics`](ThingService::over_system_topics).
///
/// ```
/// use tower::ServiceExt;
/// use tower_mqtt::dialect::rrpc::aliyun;
/// use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (cloud, device) = memory::pair();
/// // Gets {"door":1}: what stands around it on the wire is not the handler's business.
/// let unlock = async |params: String| params;
/// let router = Router::new().route("a1/d1/unlock", unlock);
/// let responder =
///     Responder::builder(device).dialect(aliyun::thing_service()).serve(router).await?;
///
/// let requester = Requester::builder(cloud).dialect(aliyun::thing_service()).build().await?;
/// let answer = requester.oneshot(Request::new("a1/d1/unlock", r#"{"door":1}"#)?).await?;
/// assert_eq!(answer.payload(), r#"{"door":1}"#);
/// # drop(responder);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Never: the lines are right.
pub fn thing_service() -> ThingService {
    let line = "/ext/rrpc/{id}/sys/{product}/{device}/thing/service/{service}";
    let lines = Lines { address: "{product}/{device}/{service}", request: line, response: line };
    let custom = super::aliyun(NAME, lines)
        .also_reads("/ext/rrpc/{id}//sys/{product}/{device}/thing/service/{service}")
        .expect("the line is right");
    ThingService { custom, system: None, pushed: true }
}

/// A dialect: see [`thing_service`].
///
/// The message id of a call is its Alink id as well; 63 random bits by default. 8 s by default; 1 to
/// 8 s. Answers go out at QoS 0.
///
/// | | on the wire | in a [`Request`] or [`Response`] |
/// |---|---|---|
/// | `params` | any JSON | the payload, as it is; none is `{}` |
/// | `data` | any JSON | the payload, as it is; none is `{}`. Text that is not JSON is sent as a JSON string, and an answer that is not text as the code 500 |
/// | `code` | a whole number | the status. What is less than 100 or more than 65,535 is read as 500, with a message that says the code |
/// | `message` | text | the status's message |
///
/// An answer is found by its Alink id, else by its topic's id: some devices answer overlapping calls on
/// the topic of the last one. Its topic says which device answers, and must fit in any case.
///
/// ([Topics](https://help.aliyun.com/zh/iot/user-guide/use-custom-topics-1),
/// [Alink JSON](https://help.aliyun.com/document_detail/69584.html))
#[derive(Debug, Clone)]
pub struct ThingService {
    /// With the service as a level of its topics.
    custom: Template,
    /// Without it: the method says which service.
    system: Option<Template>,
    pushed: bool,
}

impl ThingService {
    /// For devices that have not said `ext=1`: the same JSON over the topics of
    /// [`system`](super::system), to which such devices subscribe.
    ///
    /// # Panics
    /// Never: the lines are right.
    pub fn over_system_topics(self) -> Self {
        Self { system: Some(super::over_system_topics(NAME)), pushed: false, ..self }
    }

    /// What ids look like. Random numbers below 2⁶³ by default, as the platform's own.
    pub fn ids(self, ids: IdFormat) -> Self {
        Self { custom: self.custom.ids(ids), ..self }
    }

    /// Says that devices subscribe to their requests, so that a hub reports one that has not.
    pub fn not_pushed(self) -> Self {
        Self { pushed: false, ..self }
    }

    /// What makes the topics.
    fn topics(&self) -> &Template {
        self.system.as_ref().unwrap_or(&self.custom)
    }

    /// The same addresses, as [`topics`](Self::topics) has them.
    fn project(&self, addresses: &TopicFilter) -> Option<TopicFilter> {
        self.custom.project(addresses, self.topics())
    }

    /// A request as [`topics`](Self::topics) has it, and the name of its service.
    fn of_topics(&self, request: Request) -> Result<(Request, String), InvalidRequest> {
        let (mut parts, payload) = request.into_parts();
        self.custom.check(&parts.topic)?;
        let device = self.custom.device(&parts.topic);
        let service = parts.topic.as_str()[device.len() + 1..].to_owned();
        if self.system.is_some() {
            parts.topic = TopicName::new(device)?;
        }
        Ok((Request::from_parts(parts, payload), service))
    }

    /// The address for a service of the device that the topic names.
    fn address(&self, found: &TopicName, envelope: &Envelope<'_>) -> Result<TopicName, Malformed> {
        let service = envelope.service().ok_or(Malformed::new("the method is not a service"))?;
        if self.system.is_none() {
            return Ok(found.clone());
        }
        let address = TopicName::new(format!("{found}/{service}")).ok();
        let fits = address.filter(|address| self.custom.check(address).is_ok());
        fits.ok_or(Malformed::new("the service does not fit into a topic"))
    }

    /// What the envelope makes of a request that has the envelope for its payload.
    fn open(
        &self,
        incoming: IncomingRequest,
        envelope: Option<Envelope<'_>>,
    ) -> Result<IncomingRequest, Malformed> {
        let envelope = envelope.ok_or(Malformed::new("the payload is not a JSON object"))?;
        let id = envelope.id().map_err(Malformed::new)?;
        let (mut parts, payload) = incoming.request.into_parts();
        parts.topic = self.address(&parts.topic, &envelope)?;
        let request = Request::from_parts(parts, envelope.params(&payload));
        let id = id.map(|id| Bytes::copy_from_slice(id.get().as_bytes()));
        let reply_to = with_id(&incoming.reply_to, id);
        Ok(IncomingRequest { request, reply_to, left: incoming.left })
    }
}

/// To the same topic, with an Alink id as JSON; that of the topic if there is none.
fn with_id(reply_to: &ReplyTo, id: Option<Bytes>) -> ReplyTo {
    let of_topic = || {
        let id = reply_to.correlation_data().map(|id| String::from_utf8_lossy(id));
        Bytes::from(json::quoted(&id.unwrap_or_default()).get().to_owned())
    };
    ReplyTo::new(reply_to.topic().clone(), Some(id.unwrap_or_else(of_topic)), reply_to.qos())
}

impl Dialect for ThingService {
    fn name(&self) -> &'static str {
        self.custom.name()
    }

    fn default_timeout(&self) -> Duration {
        *super::TIMEOUTS.end()
    }

    fn timeouts(&self) -> RangeInclusive<Duration> {
        super::TIMEOUTS
    }

    fn id_format(&self) -> IdFormat {
        self.custom.id_format()
    }

    fn carries(&self) -> Carries {
        Carries::PAYLOAD.with_status()
    }

    fn device<'a>(&self, address: &'a TopicName) -> &'a str {
        self.custom.device(address)
    }

    fn response_subscription(
        &self,
        response_topic: &TopicName,
        peers: &TopicFilter,
    ) -> Option<Subscription> {
        self.topics().response_subscription(response_topic, &self.project(peers)?)
    }

    fn request_key(&self, request: &Request, id: &Bytes) -> Result<Bytes, InvalidRequest> {
        let (request, _) = self.of_topics(Request::to(request.topic().clone(), ""))?;
        self.topics().request_key(&request, id)
    }

    fn encode_request(&self, outgoing: OutgoingRequest<'_>) -> Result<Message, InvalidRequest> {
        let (request, service) = self.of_topics(outgoing.request)?;
        let (parts, params) = request.into_parts();
        let id = std::str::from_utf8(outgoing.id)
            .map_err(|_| self.custom.invalid("the id is not text"))?;
        let payload = alink::request(id, &service, &params)
            .ok_or_else(|| self.custom.invalid("the payload is not JSON"))?;
        let request = Request::from_parts(parts, payload.into());
        self.topics().encode_request(OutgoingRequest { request, ..outgoing })
    }

    fn restamp(&self, message: &mut Message, left: Duration) {
        self.topics().restamp(message, left);
    }

    fn response_key(&self, message: &Message, response_topic: &TopicName) -> Option<Bytes> {
        let of_topic = self.topics().response_key(message, response_topic)?;
        // What cannot be read is found by its topic, so that somebody counts it.
        let Some(envelope) = Envelope::read(&message.payload) else { return Some(of_topic) };
        match envelope.plain_id() {
            _ if envelope.is_request() => None,
            // Only the id is chosen freely, so it cannot make the key of another device.
            Some(id) => self.topics().answer_key(&message.topic, &id),
            None => Some(of_topic),
        }
    }

    fn decode_response(&self, message: Message) -> Result<Response, Malformed> {
        let payload = self.topics().decode_response(message)?.into_payload();
        let envelope = Envelope::read(&payload);
        let envelope = envelope.ok_or(Malformed::new("the payload is not a JSON object"))?;
        envelope.response(&payload).map_err(Malformed::new)
    }

    fn request_subscriptions(&self, route: &TopicFilter) -> Vec<Subscription> {
        let route = self.project(route);
        route.map(|route| self.topics().request_subscriptions(&route)).unwrap_or_default()
    }

    fn decode_request(&self, message: Message) -> Result<IncomingRequest, Malformed> {
        let payload = message.payload.clone();
        let envelope = Envelope::read(&payload);
        // No answer to an answer: the other side could be a responder as well.
        if envelope.as_ref().is_some_and(Envelope::is_answer) {
            return Err(Malformed::new("this is an answer"));
        }
        let (reply_to, opened) = match self.topics().decode_request(message) {
            Ok(incoming) => (Some(incoming.reply_to.clone()), self.open(incoming, envelope)),
            Err(malformed) => {
                let (what, reply_to) = malformed.into_parts();
                (reply_to.map(|reply_to| *reply_to), Err(Malformed::new(what)))
            }
        };
        opened.map_err(|malformed| match reply_to {
            Some(reply_to) => malformed.reply_to(with_id(&reply_to, None)),
            None => malformed,
        })
    }

    fn encode_response(
        &self,
        reply_to: &ReplyTo,
        response: Response,
        left: Option<Duration>,
    ) -> Result<Message, Malformed> {
        let id = reply_to.correlation_data().and_then(|id| serde_json::from_slice(id).ok());
        let id = id.ok_or(Malformed::new("there is no id to answer with"))?;
        let response = Response::new(alink::answer(id, &response));
        self.topics().encode_response(reply_to, response, left)
    }

    fn answers_on_request_topic(&self) -> bool {
        self.topics().answers_on_request_topic()
    }

    fn addressee(&self, topic: &TopicName) -> Option<Addressee> {
        let addressee = self.topics().addressee(topic)?;
        Some(if self.pushed { addressee.pushed() } else { addressee })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    #[test]
    fn a_hub_pushes_unless_told_otherwise() {
        let wire = topic("/ext/rrpc/1/sys/pk/dn/thing/service/get");
        let addressee = thing_service().addressee(&wire).unwrap();
        assert!(addressee.pushed && addressee.names.contains(&"dn&pk".to_owned()));
        assert!(!thing_service().not_pushed().addressee(&wire).unwrap().pushed);

        let system = thing_service().over_system_topics();
        let addressee = system.addressee(&topic("/sys/pk/dn/rrpc/request/1")).unwrap();
        assert!(!addressee.pushed && addressee.names.contains(&"dn&pk".to_owned()));
        assert_eq!(system.addressee(&wire), None);
    }

    #[test]
    fn the_device_is_what_the_address_begins_with() {
        for dialect in [thing_service(), thing_service().over_system_topics()] {
            assert_eq!(dialect.device(&topic("pk/dn/get")), "pk/dn");
        }
    }

    #[test]
    fn options_may_come_in_any_order() {
        for dialect in [
            thing_service().ids(IdFormat::UlidText).over_system_topics(),
            thing_service().over_system_topics().ids(IdFormat::UlidText),
        ] {
            assert_eq!(dialect.id_format(), IdFormat::UlidText);
        }
        assert_eq!(thing_service().id_format(), IdFormat::Decimal { bits: 63 });
        assert_eq!(thing_service().timeouts(), Duration::from_secs(1)..=Duration::from_secs(8));
    }

    #[test]
    fn an_answer_needs_an_id() {
        let reply_to = |id: Option<&'static [u8]>| {
            ReplyTo::new(topic("a"), id.map(Bytes::from_static), crate::Qos::AtMostOnce)
        };
        for id in [None, Some(&b"not JSON"[..]), Some(b"\xff")] {
            let sent = thing_service().encode_response(&reply_to(id), Response::new(""), None);
            assert_eq!(sent, Err(Malformed::new("there is no id to answer with")));
        }
    }
}
