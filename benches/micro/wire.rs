//! One request and its answer in a dialect.

use std::time::Duration;

use bytes::Bytes;
use tower_mqtt::core::topic::TopicName;
use tower_mqtt::dialect::{Dialect, IdFormat, IncomingRequest, Message, OutgoingRequest, ReplyTo};
use tower_mqtt::{Request, Response};

const LEFT: Duration = Duration::from_secs(2);
const QUESTION: &[u8] = br#"{"light":1}"#;
const ANSWER: &[u8] = br#"{"light":1,"was":0}"#;

/// The four steps of an exchange, with what each begins from.
pub(crate) struct Wire {
    dialect: Box<dyn Dialect>,
    id: Bytes,
    response_topic: TopicName,
    pub(crate) request: Request,
    pub(crate) request_message: Message,
    reply_to: ReplyTo,
    pub(crate) response: Response,
    pub(crate) response_message: Message,
}

impl Wire {
    pub(crate) fn new(dialect: impl Dialect, address: &str) -> Self {
        let request = Request::new(address, QUESTION).expect("it is an address");
        let response_topic = TopicName::new("clients/machine-7/responses").expect("it is a topic");
        let placeholder = Message::new(response_topic.clone(), "");
        let mut wire = Self {
            id: id(dialect.id_format()),
            dialect: Box::new(dialect),
            reply_to: ReplyTo::new(response_topic.clone(), None, placeholder.qos),
            response_topic,
            request,
            request_message: placeholder.clone(),
            response: Response::new(ANSWER),
            response_message: placeholder,
        };
        wire.request_message = wire.encode_request(wire.request.clone());
        wire.reply_to = wire.decode_request(wire.request_message.clone()).reply_to;
        wire.response_message = wire.encode_response(wire.response.clone());
        assert_eq!(wire.decode_response(wire.response_message.clone()).payload(), ANSWER);
        wire
    }

    /// What a requester does before it publishes.
    pub(crate) fn encode_request(&self, request: Request) -> Message {
        self.dialect.request_key(&request, &self.id).expect("it is an address of this dialect");
        let (id, response_topic) = (&self.id, &self.response_topic);
        let outgoing = OutgoingRequest { request, id, response_topic, left: LEFT };
        self.dialect.encode_request(outgoing).expect("the dialect can write it")
    }

    /// What a responder does with a message.
    pub(crate) fn decode_request(&self, message: Message) -> IncomingRequest {
        self.dialect.decode_request(message).expect("it is a request")
    }

    /// What a responder does with the handler's answer.
    pub(crate) fn encode_response(&self, response: Response) -> Message {
        let written = self.dialect.encode_response(&self.reply_to, response, Some(LEFT));
        written.expect("the dialect can write it")
    }

    /// What a requester does with a message.
    pub(crate) fn decode_response(&self, message: Message) -> Response {
        let key = self.dialect.response_key(&message, &self.response_topic);
        assert!(key.is_some(), "it is an answer");
        self.dialect.decode_response(message).expect("it is an answer")
    }
}

fn id(format: IdFormat) -> Bytes {
    Bytes::from_static(match format {
        IdFormat::UlidText => b"01JA0000000000000000000000",
        IdFormat::Decimal { .. } => b"1234567890123456789",
        IdFormat::Short { .. } => b"12345",
        _ => b"0123456789abcdef",
    })
}
