//! Every dialect reads any message, as a request and as an answer; and what it reads it can write, and
//! read again.
//!
//! An input is six lines and a payload: flags, topic, Response Topic, Correlation Data, Content Type,
//! and user properties as `name=value&…`. An empty line is a property that is absent.

use std::time::Duration;

use bytes::Bytes;
use tower_mqtt::core::packet::{Qos, UserProperties};
use tower_mqtt::core::topic::{TopicFilter, TopicName};
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::dialect::{Dialect, IncomingRequest, Message, Native, OutgoingRequest, template};
use tower_mqtt::{Request, Response};

pub fn run(input: &[u8]) {
    let Some(message) = message(input) else { return };
    let own = TopicName::new("clients/us/responses").expect("a topic");
    for dialect in dialects() {
        let dialect = &*dialect;
        let _ = dialect.addressee(&message.topic);
        let _ = dialect.device(&message.topic);
        let filter = TopicFilter::exact(&message.topic);
        let _ = dialect.request_subscriptions(&filter);
        let _ = dialect.response_subscription(&own, &filter);
        let _ = dialect.response_key(&message, &own);
        let _ = dialect.response_key(&message, &message.topic);
        let _ = dialect.decode_response(message.clone());
        if let Ok(incoming) = dialect.decode_request(message.clone()) {
            assert!(!message.retain, "{} takes a retained request", dialect.name());
            answer(dialect, &incoming, &message.payload, &own);
            ask(dialect, incoming.request, &own);
        }
    }
}

fn dialects() -> [Box<dyn Dialect>; 10] {
    [
        Box::new(Native::new()),
        Box::new(aliyun::system()),
        Box::new(aliyun::custom()),
        Box::new(aliyun::thing_service()),
        Box::new(aliyun::thing_service().over_system_topics()),
        Box::new(tencent::rrpc()),
        Box::new(tencent::explorer()),
        Box::new(tencent::client_token()),
        Box::new(template::azure_direct_methods()),
        Box::new(template::huawei_commands()),
    ]
}

fn message(input: &[u8]) -> Option<Message> {
    let mut parts = input.splitn(7, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let flags = next().first().copied().unwrap_or_default();
    let topic = TopicName::new(std::str::from_utf8(next()).ok()?).ok()?;
    let response_topic = std::str::from_utf8(next()).ok().and_then(|t| TopicName::new(t).ok());
    let correlation = Some(next()).filter(|data| !data.is_empty());
    let content_type = std::str::from_utf8(next()).ok().filter(|text| !text.is_empty());
    let user: UserProperties = url::form_urlencoded::parse(next())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let mut message = Message::new(topic, next().to_vec());
    message.qos = if flags & 1 == 0 { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    message.retain = flags & 2 != 0;
    message.dup = flags & 4 != 0;
    message.properties.utf8_payload = flags & 8 != 0;
    message.properties.message_expiry = (flags & 0x10 != 0).then(|| u32::from(flags >> 5));
    message.properties.response_topic = response_topic;
    message.properties.correlation_data = correlation.map(Bytes::copy_from_slice);
    message.properties.content_type = content_type.map(|text| text.to_owned().into());
    message.properties.user = user;
    Some(message)
}

/// An answer can be written, and stays on its topic.
fn answer(dialect: &dyn Dialect, incoming: &IncomingRequest, payload: &Bytes, own: &TopicName) {
    let response = Response::new(payload.clone());
    let Ok(message) = dialect.encode_response(&incoming.reply_to, response, incoming.left) else {
        return;
    };
    assert!(!message.retain);
    if dialect.name() != "native" {
        assert!(message.properties.response_topic.is_none(), "an answer to an answer");
    }
    let _ = dialect.response_key(&message, own);
    let _ = dialect.decode_response(message);
}

/// What was read is asked again: the next responder reads the same, and its answer is paired.
fn ask(dialect: &dyn Dialect, request: Request, own: &TopicName) {
    let (name, topic, payload) =
        (dialect.name(), request.topic().clone(), request.payload().clone());
    let Some(id) = request.parts().correlation_data.clone() else { return };
    let key = dialect.request_key(&request, &id);
    let left = Duration::from_secs(3);
    let outgoing = OutgoingRequest { request, id: &id, response_topic: own, left };
    let Ok(message) = dialect.encode_request(outgoing) else { return };
    // A call to our own response topic is one in name only.
    if topic == *own {
        return;
    }
    assert_eq!(dialect.response_key(&message, own), None, "{name} takes a request for an answer");
    let again = dialect.decode_request(message);
    let again = again.unwrap_or_else(|error| panic!("{name} {topic}: {error}"));
    assert_eq!(again.request.topic(), &topic, "{name}");
    assert_eq!(again.request.parts().correlation_data.as_ref(), Some(&id), "{name}");
    // The id is in the payload, and may be written in another way.
    let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
    if name != "tencent-client-token" || json(&payload).is_none() {
        assert_eq!(again.request.payload(), &payload, "{name}");
    }
    assert_eq!(json(again.request.payload()), json(&payload), "{name}");
    let response = Response::new(payload);
    let Ok(answer) = dialect.encode_response(&again.reply_to, response, again.left) else { return };
    assert_eq!(dialect.response_key(&answer, own), key.ok(), "{name} {topic}");
    dialect.decode_response(answer).unwrap_or_else(|error| panic!("{name} {topic}: {error}"));
}
