use std::time::Duration;

use bytes::Bytes;
use tower_mqtt::core::topic::{TopicFilter, TopicName};
use tower_mqtt::dialect::{
    Carries, Dialect, IdFormat, IncomingRequest, Malformed, Message, OutgoingRequest, ReplyTo,
    Subscription,
};
use tower_mqtt::{InvalidRequest, Request, Response};

/// Request and answer on `echo/{id}/{topic}`.
#[derive(Debug, Clone, Copy)]
pub struct EchoTopic;

impl EchoTopic {
    /// The id and the topic behind it.
    fn split(topic: &TopicName) -> Option<(&str, &str)> {
        topic.as_str().strip_prefix("echo/")?.split_once('/')
    }

    fn subscription(filter: &str) -> Subscription {
        let filter = TopicFilter::new(format!("echo/+/{filter}")).expect("a level before a filter");
        Subscription { no_local: true, ..Subscription::new(filter) }
    }
}

impl Dialect for EchoTopic {
    fn name(&self) -> &'static str {
        "echo-topic"
    }

    fn id_format(&self) -> IdFormat {
        IdFormat::UlidText
    }

    // There is nowhere to write a status, so that a failure is silence: the caller times out.
    fn carries(&self) -> Carries {
        Carries::PAYLOAD
    }

    fn answers_on_request_topic(&self) -> bool {
        true
    }

    fn response_subscription(&self, _: &TopicName, peers: &TopicFilter) -> Option<Subscription> {
        Some(Self::subscription(peers.filter()))
    }

    fn encode_request(&self, outgoing: OutgoingRequest<'_>) -> Result<Message, InvalidRequest> {
        let what = "the id is not text".into();
        let id = std::str::from_utf8(outgoing.id)
            .map_err(|_| InvalidRequest::Dialect { dialect: self.name(), what })?;
        let topic = TopicName::new(format!("echo/{id}/{}", outgoing.request.topic()))?;
        Ok(Message::new(topic, outgoing.request.payload().clone()))
    }

    fn response_key(&self, message: &Message, _: &TopicName) -> Option<Bytes> {
        Self::split(&message.topic).map(|(id, _)| Bytes::copy_from_slice(id.as_bytes()))
    }

    fn decode_response(&self, message: Message) -> Result<Response, Malformed> {
        Ok(Response::new(message.payload))
    }

    fn request_subscriptions(&self, route: &TopicFilter) -> Vec<Subscription> {
        vec![Self::subscription(route.filter())]
    }

    fn decode_request(&self, message: Message) -> Result<IncomingRequest, Malformed> {
        let reply_to = ReplyTo::new(message.topic.clone(), None, message.qos);
        let (_, topic) = Self::split(&message.topic).ok_or(Malformed::new("no id in the topic"))?;
        let request = Request::new(topic, message.payload)
            .map_err(|_| Malformed::new("nothing behind the id"))?;
        Ok(IncomingRequest { request, reply_to, left: None })
    }

    fn encode_response(
        &self,
        reply_to: &ReplyTo,
        response: Response,
        _: Option<Duration>,
    ) -> Result<Message, Malformed> {
        Ok(Message::new(reply_to.topic().clone(), response.into_payload()))
    }
}
