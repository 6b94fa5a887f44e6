//! The custom mode of IoT Explorer: a token in the JSON of request and answer.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::super::{
    Carries, Dialect, IdFormat, IncomingRequest, Malformed, OutgoingRequest, RETAINED, ReplyTo,
    Subscription, expiry, left,
};
use super::super::json;
use crate::core::packet::{Message, Qos};
use crate::core::topic::{TopicFilter, TopicName};
use crate::error::InvalidRequest;
use crate::message::{Parts, Request, Response};

const NAME: &str = "tencent-client-token";
/// The method of every answer, and of nothing else.
const REPLY: &str = "rrpc_sync_reply";

/// The custom mode of IoT Explorer's `CallDeviceRRPCSync`: any topic is an address, and a token in the
/// payload pairs request and answer.
///
/// ```
/// use tower::ServiceExt;
/// use tower_mqtt::core::topic::TopicFilter;
/// use tower_mqtt::dialect::rrpc::tencent;
/// use tower_mqtt::{Request, Requester, Responder, Router, link::memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (cloud, device) = memory::pair();
/// // Gets {"clientToken":"…","light":1}.
/// let switch = async |object: String| format!("{} done", object.ends_with(r#","light":1}"#));
/// let router = Router::new().route("pk/d1/control", switch);
/// let responder = Responder::builder(device).dialect(tencent::client_token()).serve(router).await?;
///
/// let requester = Requester::builder(cloud)
///     .dialect(tencent::client_token())
///     .peers(TopicFilter::new("pk/+/control")?)
///     .build()
///     .await?;
/// let answer = requester.oneshot(Request::new("pk/d1/control", r#"{"light":1}"#)?).await?;
/// assert_eq!(answer.payload(), "true done");
/// # drop(responder);
/// # Ok(())
/// # }
/// ```
pub fn client_token() -> ClientToken {
    ClientToken { replies_on: None, answers_on: None }
}

/// A dialect: see [`client_token`].
///
/// The payload of a request is a JSON object, into which `clientToken` is written; everything else in
/// it stays as it is, and a handler gets the object as it came. The answer is
/// `{"method":"rrpc_sync_reply","clientToken":"…","payload":"…"}` with the payload in base64; a message
/// with another method is none. 4 s by default; answers go out at QoS 0.
///
/// Answers come on the topic of the request unless told otherwise. Then a requester subscribes to the
/// addresses of its [peers](crate::requester::RequesterBuilder::peers), and must name them: to
/// subscribe to everything would miss topics that start with `$`, and hide from all others on the server
/// that nobody is there.
/// ([Source](https://cloud.tencent.com/document/api/1081/134467))
#[derive(Debug, Clone)]
pub struct ClientToken {
    replies_on: Option<TopicFilter>,
    answers_on: Option<TopicName>,
}

impl ClientToken {
    /// For a requester: where the answers come. On the topic of the request by default.
    pub fn replies_on(self, filter: TopicFilter) -> Self {
        Self { replies_on: Some(filter), ..self }
    }

    /// For a responder: where the answers go. To the topic of the request by default.
    pub fn answers_on(self, topic: TopicName) -> Self {
        Self { answers_on: Some(topic), ..self }
    }

    /// The token, and the topic where it must be the same.
    fn key(&self, topic: &TopicName, token: &str) -> Bytes {
        match self.replies_on {
            Some(_) => Bytes::copy_from_slice(token.as_bytes()),
            // A topic has no U+0000, so nobody can make the key of another topic.
            None => [topic.as_str(), "\0", token].concat().into(),
        }
    }
}

/// A request or an answer.
#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "json::present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present", rename = "clientToken")]
    client_token: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    payload: Option<&'a RawValue>,
}

impl Envelope<'_> {
    fn is_answer(&self) -> bool {
        self.method.and_then(json::text).is_some_and(|method| method == REPLY)
    }

    fn token(&self) -> Option<String> {
        json::text(self.client_token?)
    }

    fn payload(&self) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(json::text(self.payload?)?).ok()
    }
}

/// The object with this token in it, which takes the place of one that is there.
fn with_token(object: &[u8], token: &str) -> Option<Vec<u8>> {
    let object = if object.is_empty() { b"{}" } else { object };
    let envelope: Envelope<'_> = json::object(object)?;
    let token = json::quoted(token);
    let token = token.get().as_bytes();
    if let Some(old) = envelope.client_token {
        let start = old.get().as_ptr().addr() - object.as_ptr().addr();
        let (before, after) = (&object[..start], &object[start + old.get().len()..]);
        return Some([before, token, after].concat());
    }
    let (before, after) = object.split_at(object.iter().position(|byte| *byte == b'{')? + 1);
    let comma: &[u8] = if after.trim_ascii() == b"}" { b"" } else { b"," };
    Some([before, br#""clientToken":"#, token, comma, after].concat())
}

fn invalid(what: &'static str) -> InvalidRequest {
    InvalidRequest::Dialect { dialect: NAME, what: what.into() }
}

fn text(id: &Bytes) -> Result<&str, InvalidRequest> {
    std::str::from_utf8(id).map_err(|_| invalid("the id is not text"))
}

impl Dialect for ClientToken {
    fn name(&self) -> &'static str {
        NAME
    }

    fn default_timeout(&self) -> Duration {
        super::TIMEOUT
    }

    fn id_format(&self) -> IdFormat {
        IdFormat::UlidText
    }

    fn carries(&self) -> Carries {
        Carries::PAYLOAD
    }

    fn response_subscription(&self, _: &TopicName, peers: &TopicFilter) -> Option<Subscription> {
        match &self.replies_on {
            Some(filter) => Some(Subscription::new(filter.clone())),
            None if peers.filter() == "#" => None,
            None => Some(Subscription { no_local: true, ..Subscription::new(peers.clone()) }),
        }
    }

    fn request_key(&self, request: &Request, id: &Bytes) -> Result<Bytes, InvalidRequest> {
        Ok(self.key(request.topic(), text(id)?))
    }

    fn encode_request(&self, outgoing: OutgoingRequest<'_>) -> Result<Message, InvalidRequest> {
        let (parts, payload) = outgoing.request.into_parts();
        let payload = with_token(&payload, text(outgoing.id)?)
            .ok_or_else(|| invalid("the payload is not a JSON object"))?;
        let mut message = Message { qos: parts.qos, ..Message::new(parts.topic, payload) };
        self.restamp(&mut message, outgoing.left);
        Ok(message)
    }

    fn restamp(&self, message: &mut Message, left: Duration) {
        message.properties.message_expiry = Some(expiry(left));
    }

    fn response_key(&self, message: &Message, _: &TopicName) -> Option<Bytes> {
        if self.replies_on.as_ref().is_some_and(|filter| !filter.matches(&message.topic)) {
            return None;
        }
        let envelope: Envelope<'_> = json::object(&message.payload)?;
        if envelope.is_answer() { Some(self.key(&message.topic, &envelope.token()?)) } else { None }
    }

    fn decode_response(&self, message: Message) -> Result<Response, Malformed> {
        let envelope: Option<Envelope<'_>> = json::object(&message.payload);
        let envelope = envelope.filter(Envelope::is_answer);
        let envelope = envelope.ok_or(Malformed::new("the payload is not an answer"))?;
        let payload = envelope.payload();
        payload.map(Response::new).ok_or(Malformed::new("the answer's payload is not base64"))
    }

    fn request_subscriptions(&self, route: &TopicFilter) -> Vec<Subscription> {
        let no_local = self.answers_on_request_topic();
        vec![Subscription { no_local, ..Subscription::new(route.clone()) }]
    }

    fn decode_request(&self, message: Message) -> Result<IncomingRequest, Malformed> {
        let envelope: Option<Envelope<'_>> = json::object(&message.payload);
        let envelope = envelope.ok_or(Malformed::new("the payload is not a JSON object"))?;
        if envelope.is_answer() {
            return Err(Malformed::new("this is an answer"));
        }
        let token = envelope.token().ok_or(Malformed::new("there is no clientToken"))?;
        let left = Some(left(&message, self.default_timeout()));
        let token = Some(Bytes::from(token));
        let answer = self.answers_on.as_ref().unwrap_or(&message.topic).clone();
        let reply_to = ReplyTo::new(answer.clone(), token.clone(), Qos::AtMostOnce);
        if message.retain {
            return Err(Malformed::new(RETAINED).reply_to(reply_to));
        }
        let mut parts = Parts::new(message.topic);
        parts.qos = message.qos;
        parts.correlation_data = token;
        parts.response_topic = Some(answer);
        Ok(IncomingRequest { request: Request::from_parts(parts, message.payload), reply_to, left })
    }

    fn encode_response(
        &self,
        reply_to: &ReplyTo,
        response: Response,
        left: Option<Duration>,
    ) -> Result<Message, Malformed> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer<'a> {
            method: &'static str,
            client_token: &'a str,
            payload: String,
        }

        let token = reply_to.correlation_data().and_then(|token| str::from_utf8(token).ok());
        let client_token = token.ok_or(Malformed::new("there is no token to answer with"))?;
        let payload = BASE64_STANDARD.encode(response.payload());
        let payload = json::write(&Answer { method: REPLY, client_token, payload });
        let mut message = Message::new(reply_to.topic().clone(), payload);
        message.qos = reply_to.qos();
        message.properties.message_expiry = left.map(expiry);
        Ok(message)
    }

    fn answers_on_request_topic(&self) -> bool {
        self.answers_on.is_none()
    }

    /// Answers may go to the topic of the request, and the vendor's own begin so.
    fn owns_reserved_topics(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn answer(on: &str) -> Message {
        Message::new(topic(on), r#"{"method":"rrpc_sync_reply","clientToken":"7","payload":""}"#)
    }

    #[test]
    fn a_requester_may_expect_answers_on_a_topic_of_their_own() {
        let dialect = client_token().replies_on(TopicFilter::new("up/+").unwrap());
        let peers = TopicFilter::everything();
        let subscription = dialect.response_subscription(&topic("unused"), &peers).unwrap();
        assert_eq!((subscription.filter.as_str(), subscription.no_local), ("up/+", false));

        let asked = Request::new("down/1", "{}").unwrap();
        let key = dialect.request_key(&asked, &Bytes::from_static(b"7")).unwrap();
        assert_eq!(dialect.response_key(&answer("up/1"), &topic("unused")), Some(key));
        assert_eq!(dialect.response_key(&answer("down/1"), &topic("unused")), None);
    }

    #[test]
    fn a_responder_may_answer_on_a_topic_of_its_own() {
        let dialect = client_token().answers_on(topic("up/1"));
        let request = Message::new(topic("down/1"), r#"{"clientToken":"7"}"#);
        let incoming = dialect.decode_request(request).unwrap();
        let sent = dialect.encode_response(&incoming.reply_to, Response::new(""), None).unwrap();
        assert_eq!((sent.topic, sent.payload), (answer("up/1").topic, answer("up/1").payload));
        assert!(client_token().answers_on_request_topic() && !dialect.answers_on_request_topic());
    }

    #[test]
    fn an_answer_needs_a_token() {
        let reply_to = ReplyTo::new(topic("a"), None, Qos::AtMostOnce);
        let sent = client_token().encode_response(&reply_to, Response::new(""), None);
        assert_eq!(sent, Err(Malformed::new("there is no token to answer with")));
    }
}
