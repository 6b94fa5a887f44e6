//! Messages that are published as they are.

use std::time::Duration;

use bytes::Bytes;
use tower_mqtt::core::topic::{TopicFilter, TopicName};
use tower_mqtt::dialect::{
    Dialect, IncomingRequest, Malformed, Message, Native, OutgoingRequest, ReplyTo, Subscription,
};
use tower_mqtt::{InvalidRequest, Request, Response};

/// A dialect in which a request is the message that it [carries](carrying).
#[derive(Debug)]
pub struct Verbatim;

/// A request that publishes this message.
pub fn carrying(message: Message) -> Request {
    let mut request = Request::new("verbatim", "").expect("a topic");
    request.parts_mut().extensions.insert(message);
    request
}

impl Dialect for Verbatim {
    fn name(&self) -> &'static str {
        "verbatim"
    }

    fn response_subscription(
        &self,
        topic: &TopicName,
        peers: &TopicFilter,
    ) -> Option<Subscription> {
        Native::new().response_subscription(topic, peers)
    }

    fn encode_request(&self, outgoing: OutgoingRequest<'_>) -> Result<Message, InvalidRequest> {
        let message = outgoing.request.parts().extensions.get::<Message>();
        Ok(message.expect("what is to be published").clone())
    }

    fn response_key(&self, _: &Message, _: &TopicName) -> Option<Bytes> {
        None
    }

    fn decode_response(&self, _: Message) -> Result<Response, Malformed> {
        Err(Malformed::new("nothing is asked"))
    }

    fn decode_request(&self, _: Message) -> Result<IncomingRequest, Malformed> {
        Err(Malformed::new("nothing is answered"))
    }

    fn encode_response(
        &self,
        _: &ReplyTo,
        _: Response,
        _: Option<Duration>,
    ) -> Result<Message, Malformed> {
        Err(Malformed::new("nothing is answered"))
    }
}
