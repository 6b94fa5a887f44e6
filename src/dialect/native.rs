//! MQTT 5 request-response as the standard has it (§4.10): Response Topic and Correlation Data.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Dialect, IdFormat, IncomingRequest, Malformed, OutgoingRequest, RETAINED, ReplyTo,
    Subscription, expiry,
};
use crate::core::packet::{Message, Properties, UserProperties};
use crate::core::topic::{TopicFilter, TopicName};
use crate::error::InvalidRequest;
use crate::message::{Parts, Request, Response, Status};

/// Milliseconds that the caller still waits. Brokers count the Message Expiry Interval down and
/// leave this alone, so it bounds what a request may take *after* it has left the broker.
const TIMEOUT_MS: &str = "timeout-ms";
/// The status code, written only when it is not 200: a plain MQTT 5 client is a full peer.
const STATUS: &str = "status";
const STATUS_MESSAGE: &str = "status-message";

/// The native dialect: any MQTT 5 client that sets Response Topic and Correlation Data is a peer.
///
/// On the wire, beside the standard's own two properties:
///
/// | property | on | meaning |
/// |---|---|---|
/// | Message Expiry Interval | request, response | what is left of the deadline, rounded up to seconds; a broker discards the message then |
/// | `timeout-ms` (user) | request | what is left exactly |
/// | `status`, `status-message` (user) | response | the [`Status`], absent when it is 200 |
/// | Content Type | both | what the payload is |
///
/// The responder's deadline is the time of receipt plus the smaller of `timeout-ms` and the
/// remaining Message Expiry Interval. Because brokers count only whole seconds, queueing in a broker
/// can stretch a deadline of less than a second by up to a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Native {
    text_ids: bool,
}

impl Native {
    /// Correlation Data of 16 bytes.
    pub const fn new() -> Self {
        Self { text_ids: false }
    }

    /// Correlation Data of 26 characters, for platforms that carry only text.
    pub const fn text_ids(self) -> Self {
        Self { text_ids: true }
    }
}

impl Dialect for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn id_format(&self) -> IdFormat {
        if self.text_ids { IdFormat::UlidText } else { IdFormat::Ulid }
    }

    fn response_subscription(
        &self,
        response_topic: &TopicName,
        _: &TopicFilter,
    ) -> Option<Subscription> {
        Some(Subscription::new(TopicFilter::from(response_topic.clone())))
    }

    fn encode_request(&self, outgoing: OutgoingRequest<'_>) -> Result<Message, InvalidRequest> {
        let (parts, payload) = outgoing.request.into_parts();
        let mut message = Message {
            topic: parts.topic,
            payload,
            qos: parts.qos,
            retain: false,
            dup: false,
            properties: Properties {
                response_topic: Some(outgoing.response_topic.clone()),
                correlation_data: Some(outgoing.id.clone()),
                content_type: parts.content_type,
                user: parts.user_properties,
                ..Properties::default()
            },
        };
        self.restamp(&mut message, outgoing.left);
        Ok(message)
    }

    fn restamp(&self, message: &mut Message, left: Duration) {
        let millis = left.as_millis().max(1);
        message.properties.message_expiry = Some(expiry(left));
        message.properties.user.remove(TIMEOUT_MS);
        message.properties.user.push(TIMEOUT_MS, millis.to_string());
    }

    fn response_key(&self, message: &Message, response_topic: &TopicName) -> Option<Bytes> {
        let for_us = message.topic == *response_topic;
        if for_us { message.properties.correlation_data.clone() } else { None }
    }

    fn decode_response(&self, message: Message) -> Result<Response, Malformed> {
        let Properties { content_type, user: mut properties, .. } = message.properties;
        let status = match properties.remove(STATUS) {
            None => Status::OK,
            Some(code) => match code.parse() {
                Ok(code @ 100..) => Status::new(code),
                _ => return Err(Malformed::new("the status is not a number from 100 to 65535")),
            },
        };
        let status = match properties.remove(STATUS_MESSAGE) {
            Some(text) => status.with_message(text),
            None => status,
        };
        let mut response = Response::new(message.payload).with_status(status);
        response.set_wire(content_type, properties);
        Ok(response)
    }

    fn decode_request(&self, message: Message) -> Result<IncomingRequest, Malformed> {
        let Message { topic, payload, qos, retain, mut properties, .. } = message;
        let Some(response_topic) = properties.response_topic else {
            return Err(Malformed::new("there is no response topic"));
        };
        let reply_to =
            ReplyTo::new(response_topic.clone(), properties.correlation_data.clone(), qos);
        if retain {
            return Err(Malformed::new(RETAINED).reply_to(reply_to));
        }
        let Ok(left) = left(&mut properties.user, properties.message_expiry) else {
            return Err(Malformed::new("timeout-ms is not a number").reply_to(reply_to));
        };
        let mut parts = Parts::new(topic);
        parts.content_type = properties.content_type;
        parts.user_properties = properties.user;
        parts.qos = qos;
        parts.correlation_data = properties.correlation_data;
        parts.response_topic = Some(response_topic);
        Ok(IncomingRequest { request: Request::from_parts(parts, payload), reply_to, left })
    }

    fn encode_response(
        &self,
        reply_to: &ReplyTo,
        response: Response,
        left: Option<Duration>,
    ) -> Result<Message, Malformed> {
        let (status, payload, content_type, mut user) = response.into_wire();
        user.remove(STATUS);
        user.remove(STATUS_MESSAGE);
        if status != Status::OK {
            user.push(STATUS, status.code().to_string());
            if let Some(message) = status.message() {
                user.push(STATUS_MESSAGE, message.to_owned());
            }
        }
        let properties = Properties {
            correlation_data: reply_to.correlation_data().cloned(),
            message_expiry: left.map(expiry),
            content_type,
            user,
            ..Properties::default()
        };
        let topic = reply_to.topic().clone();
        Ok(Message { topic, payload, qos: reply_to.qos(), retain: false, dup: false, properties })
    }
}

/// The smaller of what the caller wrote and what the broker left of the expiry.
fn left(user: &mut UserProperties, expiry: Option<u32>) -> Result<Option<Duration>, ()> {
    let exact = match user.remove(TIMEOUT_MS) {
        Some(millis) => Some(Duration::from_millis(millis.parse().map_err(drop)?)),
        None => None,
    };
    let expiry = expiry.map(|seconds| Duration::from_secs(seconds.into()));
    Ok(exact.into_iter().chain(expiry).min())
}

#[cfg(test)]
mod tests {
    use crate::core::packet::Qos;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).expect("a topic name")
    }

    fn encoded(left: Duration) -> Message {
        let request = Request::new("a/b", "question").unwrap().with_user_property("k", "v");
        let id = Bytes::from_static(b"id");
        let response_topic = topic("clients/c/responses");
        Native::new()
            .encode_request(OutgoingRequest {
                request,
                id: &id,
                response_topic: &response_topic,
                left,
            })
            .unwrap()
    }

    #[test]
    fn a_request_survives_the_wire() {
        let message = encoded(Duration::from_millis(1_250));
        assert_eq!(message.properties.message_expiry, Some(2), "rounded up");
        let incoming = Native::new().decode_request(message).unwrap();
        assert_eq!(incoming.left, Some(Duration::from_millis(1_250)));
        assert_eq!(incoming.reply_to.topic(), &topic("clients/c/responses"));
        assert_eq!(incoming.reply_to.correlation_data().unwrap(), "id");
        assert_eq!(incoming.request.payload(), "question");
        let user = &incoming.request.parts().user_properties;
        assert_eq!(
            user.iter().collect::<Vec<_>>(),
            [("k", "v")],
            "the dialect's own are taken out"
        );
    }

    #[test]
    fn what_the_broker_left_of_the_expiry_counts() {
        let mut message = encoded(Duration::from_secs(5));
        message.properties.message_expiry = Some(3);
        let incoming = Native::new().decode_request(message).unwrap();
        assert_eq!(incoming.left, Some(Duration::from_secs(3)));
    }

    #[test]
    fn sending_again_writes_anew_how_much_is_left() {
        let mut message = encoded(Duration::from_secs(5));
        Native::new().restamp(&mut message, Duration::from_millis(400));
        assert_eq!(message.properties.message_expiry, Some(1));
        let incoming = Native::new().decode_request(message).unwrap();
        assert_eq!(incoming.left, Some(Duration::from_millis(400)));
    }

    #[test]
    fn a_response_carries_its_status_only_when_it_is_not_200() {
        let native = Native::new();
        let reply_to = ReplyTo::new(topic("r"), Some(Bytes::from_static(b"id")), Qos::AtLeastOnce);
        let message = native.encode_response(&reply_to, Response::new("yes"), None).unwrap();
        assert!(message.properties.user.is_empty());
        assert!(native.decode_response(message).unwrap().status().is_success());

        let status = Status::NOT_FOUND.with_message("no such dish");
        let message =
            native.encode_response(&reply_to, Response::error(status.clone()), None).unwrap();
        assert_eq!(native.decode_response(message).unwrap().status(), &status);
    }

    #[test]
    fn an_answer_must_match_topic_and_correlation_data() {
        let native = Native::new();
        let mut message = Message::new(topic("clients/c/responses"), "yes");
        assert_eq!(native.response_key(&message, &topic("clients/c/responses")), None);
        message.properties.correlation_data = Some(Bytes::from_static(b"id"));
        let id = native.response_key(&message, &topic("clients/c/responses"));
        assert_eq!(id, Some(Bytes::from_static(b"id")));
        assert_eq!(native.response_key(&message, &topic("clients/d/responses")), None);
    }

    #[test]
    fn what_is_not_a_request_is_refused_and_says_where_the_refusal_goes() {
        let refused = |change: &dyn Fn(&mut Message)| {
            let mut message = encoded(Duration::from_secs(1));
            change(&mut message);
            Native::new().decode_request(message).unwrap_err().into_parts().1.is_some()
        };
        assert!(refused(&|m| m.retain = true));
        assert!(refused(&|m| {
            m.properties.user.remove("timeout-ms");
            m.properties.user.push("timeout-ms", "soon");
        }));
        assert!(!refused(&|m| m.properties.response_topic = None));
    }

    #[test]
    fn a_status_that_is_not_a_status_makes_the_answer_malformed() {
        for code in ["", "ok", "99", "65536", "-1", "70000"] {
            let mut message = Message::new(topic("r"), "");
            message.properties.user.push("status", code);
            assert!(Native::new().decode_response(message).is_err(), "{code:?}");
        }
    }
}
