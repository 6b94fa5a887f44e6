//! A dialect that is chosen while the program runs.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{
    Addressee, Carries, Dialect, IdFormat, IncomingRequest, Malformed, OutgoingRequest, ReplyTo,
};
use crate::core::packet::{Message, Subscription};
use crate::core::topic::{TopicFilter, TopicName};
use crate::error::InvalidRequest;
use crate::message::{Request, Response};

/// The dialect inside, so that an `Arc<dyn Dialect>` can be given to a builder.
///
/// ```
/// use std::sync::Arc;
/// use tower_mqtt::dialect::{Dialect, Native, rrpc::{aliyun, tencent}};
///
/// fn named(name: &str) -> Option<Arc<dyn Dialect>> {
///     Some(match name {
///         "native" => Arc::new(Native::new()),
///         "aliyun-system" => Arc::new(aliyun::system()),
///         "tencent" => Arc::new(tencent::rrpc()),
///         _ => return None,
///     })
/// }
///
/// assert_eq!(named("tencent").unwrap().name(), "tencent");
/// ```
impl<D: Dialect + ?Sized> Dialect for Arc<D> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn default_timeout(&self) -> Duration {
        (**self).default_timeout()
    }

    fn timeouts(&self) -> RangeInclusive<Duration> {
        (**self).timeouts()
    }

    fn id_format(&self) -> IdFormat {
        (**self).id_format()
    }

    fn carries(&self) -> Carries {
        (**self).carries()
    }

    fn device<'a>(&self, address: &'a TopicName) -> &'a str {
        (**self).device(address)
    }

    fn response_subscription(
        &self,
        response_topic: &TopicName,
        peers: &TopicFilter,
    ) -> Option<Subscription> {
        (**self).response_subscription(response_topic, peers)
    }

    fn request_key(&self, request: &Request, id: &Bytes) -> Result<Bytes, InvalidRequest> {
        (**self).request_key(request, id)
    }

    fn encode_request(&self, request: OutgoingRequest<'_>) -> Result<Message, InvalidRequest> {
        (**self).encode_request(request)
    }

    fn restamp(&self, message: &mut Message, left: Duration) {
        (**self).restamp(message, left);
    }

    fn response_key(&self, message: &Message, response_topic: &TopicName) -> Option<Bytes> {
        (**self).response_key(message, response_topic)
    }

    fn decode_response(&self, message: Message) -> Result<Response, Malformed> {
        (**self).decode_response(message)
    }

    fn request_subscriptions(&self, route: &TopicFilter) -> Vec<Subscription> {
        (**self).request_subscriptions(route)
    }

    fn decode_request(&self, message: Message) -> Result<IncomingRequest, Malformed> {
        (**self).decode_request(message)
    }

    fn encode_response(
        &self,
        reply_to: &ReplyTo,
        response: Response,
        left: Option<Duration>,
    ) -> Result<Message, Malformed> {
        (**self).encode_response(reply_to, response, left)
    }

    fn answers_on_request_topic(&self) -> bool {
        (**self).answers_on_request_topic()
    }

    fn owns_reserved_topics(&self) -> bool {
        (**self).owns_reserved_topics()
    }

    fn addressee(&self, topic: &TopicName) -> Option<Addressee> {
        (**self).addressee(topic)
    }
}

#[cfg(test)]
mod tests {
    /// A method with a default that is not passed on would be forgotten silently.
    #[test]
    fn every_method_of_the_trait_is_passed_on() {
        let (all, here) = (include_str!("mod.rs"), include_str!("shared.rs"));
        let body =
            all.split("pub trait Dialect").nth(1).and_then(|text| text.split("\n}\n").next());
        let methods = body.unwrap().matches("\n    fn ").count();
        let code = here.split("#[cfg(test)]").next().unwrap();
        assert_eq!(code.matches("(**self).").count(), methods);
    }
}
