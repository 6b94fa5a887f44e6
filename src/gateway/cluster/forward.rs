//! A call on its way from one gateway to another, and its answer on the way back: native requests
//! whose user properties say what the payload does not.
//!
//! | of a request | |
//! |---|---|
//! | `product`, `device` | who is called |
//! | `topic`, `service` | for what; none of them: the device itself |
//! | `replies` | with `topic`: where the device answers, if not there |
//! | payload, content type, deadline | the call's; the device has a little less time, so that there is some for the answer |
//!
//! | of an answer | |
//! |---|---|
//! | `message-id` | under which the device was asked |
//! | `failure` | why there is no answer; `detail` says more |
//! | status, payload, content type | the device's, without a `failure` |
//!
//! What has neither a `message-id` nor a `failure` comes from somebody who knows nothing of calls: the
//! responder or the broker refuses.

use std::time::Duration;

use crate::core::topic::TopicFilter;
use crate::core::topic::TopicName;
use crate::gateway::call::{
    Answer, Call, CallError, Failure, InFlight, MESSAGE_ID, Target, with_message_id,
};
use crate::gateway::now;
use crate::message::{Request, Response, Status};

const PRODUCT: &str = "product";
const DEVICE: &str = "device";
const TOPIC: &str = "topic";
const REPLIES: &str = "replies";
const SERVICE: &str = "service";
const FAILURE: &str = "failure";
const DETAIL: &str = "detail";

/// What the owner of a device leaves of a call's time, of a short one a tenth: else nobody would learn
/// from it under which id a device was asked that has not answered.
const WAY_BACK: Duration = Duration::from_millis(50);

/// The failure of a gateway that takes no more calls: no device was asked.
const LEAVING: &str = "leaving";

pub(super) fn request(to: TopicName, call: &Call) -> Request {
    let mut request = Request::to(to, call.payload.clone())
        .with_user_property(PRODUCT, call.product.to_string())
        .with_user_property(DEVICE, call.device.to_string());
    request = match &call.target {
        Target::Device => request,
        Target::Topic(topic) => request.with_user_property(TOPIC, topic.to_string()),
        Target::Topics { request: topic, replies } => request
            .with_user_property(TOPIC, topic.to_string())
            .with_user_property(REPLIES, replies.to_string()),
        Target::Service(service) => request.with_user_property(SERVICE, service.to_string()),
    };
    request.parts_mut().content_type.clone_from(&call.content_type);
    request
}

/// The call that a request is. `None`: it is none.
pub(super) fn call(request: Request) -> Option<Call> {
    let (mut parts, payload) = request.into_parts();
    let properties = &mut parts.user_properties;
    let product = properties.remove(PRODUCT)?;
    let device = properties.remove(DEVICE)?;
    let replies = properties.remove(REPLIES);
    let target = match (properties.remove(TOPIC), properties.remove(SERVICE)) {
        (Some(topic), _) => {
            let request = TopicName::new(&*topic).ok()?;
            match replies {
                Some(replies) => {
                    Target::Topics { request, replies: TopicFilter::new(&*replies).ok()? }
                }
                None => Target::Topic(request),
            }
        }
        (None, Some(service)) => Target::Service(service.into()),
        (None, None) => Target::Device,
    };
    let left = parts.deadline.map(|deadline| deadline.saturating_duration_since(now()));
    let timeout = left.map(|left| left.saturating_sub(WAY_BACK.min(left / 10)));
    Some(Call {
        product: product.into(),
        device: device.into(),
        target,
        payload,
        content_type: parts.content_type,
        timeout,
        key: None,
        api: "gateway",
    })
}

pub(super) fn response(result: Result<Answer, Failure>) -> Response {
    match result {
        Ok(answer) => answer.into_response(),
        Err(Failure { why, message_id }) => {
            let (kind, detail) = written(&why);
            let mut response = failed(kind);
            if let Some(detail) = detail {
                response = response.with_user_property(DETAIL, detail);
            }
            with_message_id(response, message_id)
        }
    }
}

pub(super) fn leaving() -> Response {
    failed(LEAVING)
}

fn failed(kind: &'static str) -> Response {
    Response::error(Status::UNAVAILABLE).with_user_property(FAILURE, kind)
}

/// What an answer says of a call; `None`: the gateway takes no more.
pub(super) fn result(response: Response, call: &Call) -> Option<Result<Answer, Failure>> {
    let properties = response.user_properties();
    let message_id = properties.get(MESSAGE_ID).and_then(|id| id.parse().ok());
    let detail = properties.get(DETAIL).unwrap_or_default();
    match (properties.get(FAILURE), message_id) {
        (Some(LEAVING), _) => None,
        (Some(kind), _) => Some(Err(Failure { why: read(kind, detail, call), message_id })),
        (None, None) => {
            let why = match response.status().code() {
                413 => CallError::TooLarge,
                // It may say so of a call that it had begun.
                _ => CallError::Lost("the gateway of the device has not taken the call"),
            };
            Some(Err(why.into()))
        }
        (None, Some(message_id)) => Some(Ok(Answer::of(response, message_id))),
    }
}

/// Why there is no answer, as one word, and what more there is to say.
fn written(why: &CallError) -> (&'static str, Option<String>) {
    match why {
        CallError::NoSuchProduct(_) => ("no-such-product", None),
        CallError::NoSuchDevice(_) => ("no-such-device", None),
        CallError::NotAllowed(_) => ("not-allowed", None),
        CallError::Disabled => ("disabled", None),
        CallError::Offline => ("offline", None),
        CallError::HalfOpen => ("half-open", None),
        CallError::NotSubscribed => ("not-subscribed", None),
        CallError::Timeout => ("timeout", None),
        CallError::TooMany(InFlight::Gateway(limit)) => ("too-many", Some(limit.to_string())),
        CallError::TooMany(InFlight::Device(limit)) => {
            ("too-many-of-device", Some(limit.to_string()))
        }
        CallError::TooMany(InFlight::Key(limit)) => ("too-many-of-key", Some(limit.to_string())),
        CallError::Invalid(what) => ("invalid", Some(what.to_string())),
        CallError::TooLarge => ("too-large", None),
        CallError::Unavailable(_) => ("unavailable", None),
        CallError::Lost(_) => ("lost", None),
        CallError::Failed(what) => ("failed", Some(what.to_string())),
    }
}

fn read(kind: &str, detail: &str, call: &Call) -> CallError {
    let limit = || detail.parse().unwrap_or_default();
    match kind {
        "no-such-product" => CallError::NoSuchProduct(call.product.clone()),
        "no-such-device" => CallError::NoSuchDevice(call.device.clone()),
        "not-allowed" => CallError::NotAllowed(call.product.clone()),
        "disabled" => CallError::Disabled,
        "offline" => CallError::Offline,
        "half-open" => CallError::HalfOpen,
        "not-subscribed" => CallError::NotSubscribed,
        "timeout" => CallError::Timeout,
        "too-many" => CallError::TooMany(InFlight::Gateway(limit())),
        "too-many-of-device" => CallError::TooMany(InFlight::Device(limit())),
        "too-many-of-key" => CallError::TooMany(InFlight::Key(limit())),
        "invalid" => CallError::Invalid(detail.into()),
        "too-large" => CallError::TooLarge,
        "unavailable" => CallError::Unavailable("the gateway of the device cannot reach it"),
        "lost" => CallError::Lost("the gateway of the device has lost the call"),
        _ => CallError::Failed(detail.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn made(target: Target) -> Call {
        Call {
            product: "p".into(),
            device: "d".into(),
            target,
            payload: "on".into(),
            content_type: Some("text/plain".into()),
            timeout: None,
            key: Some("k".into()),
            api: "plain",
        }
    }

    #[test]
    fn a_call_arrives_as_it_was_made_but_for_its_key() {
        let replies = TopicFilter::new("p/d/+").unwrap();
        for target in [
            Target::Device,
            Target::Topic(topic("/p/d/user/x")),
            Target::Topics { request: topic("p/d/x"), replies },
            Target::Service("get".into()),
        ] {
            let sent = made(target);
            let read = call(request(topic("gateways/g/a/call"), &sent)).unwrap();
            assert_eq!((read.product, read.device), (sent.product, sent.device));
            assert_eq!((read.target, read.payload), (sent.target, sent.payload));
            assert_eq!((read.content_type, read.key), (sent.content_type, None));
        }
        assert!(call(Request::new("gateways/g/a/call", "").unwrap()).is_none());
        let wild = Request::new("a", "").unwrap().with_user_property(PRODUCT, "p");
        assert!(
            call(wild.with_user_property(DEVICE, "d").with_user_property(TOPIC, "#")).is_none()
        );
    }

    #[test]
    fn an_answer_arrives_as_it_was_given() {
        let call = made(Target::Device);
        for (status, content_type) in [
            (Status::OK, None),
            (Status::new(460).with_message("jammed"), Some("application/json".into())),
        ] {
            let answer = Answer {
                status: status.clone(),
                payload: "ok".into(),
                content_type,
                message_id: 7,
            };
            let read = result(response(Ok(answer.clone())), &call).unwrap().unwrap();
            assert_eq!((read.status, read.payload), (status, answer.payload));
            assert_eq!((read.content_type, read.message_id), (answer.content_type, 7));
        }
    }

    #[test]
    fn every_failure_arrives_as_it_was() {
        let call = made(Target::Device);
        for why in [
            CallError::NoSuchProduct("p".into()),
            CallError::NoSuchDevice("d".into()),
            CallError::NotAllowed("p".into()),
            CallError::Disabled,
            CallError::Offline,
            CallError::HalfOpen,
            CallError::NotSubscribed,
            CallError::Timeout,
            CallError::TooMany(InFlight::Gateway(3)),
            CallError::TooMany(InFlight::Device(4)),
            CallError::TooMany(InFlight::Key(5)),
            CallError::Invalid("so".into()),
            CallError::TooLarge,
            CallError::Failed("so".into()),
        ] {
            for message_id in [None, Some(9)] {
                let failure = Failure { why: why.clone(), message_id };
                let read = result(response(Err(failure.clone())), &call).unwrap();
                assert_eq!(read.unwrap_err(), failure);
            }
        }
        let away = response(Err(CallError::Unavailable("away").into()));
        let away = result(away, &call).unwrap().unwrap_err().why;
        assert!(matches!(away, CallError::Unavailable(_)));
        let lost = response(Err(CallError::Lost("lost").into()));
        let lost = result(lost, &call).unwrap().unwrap_err().why;
        assert!(matches!(lost, CallError::Lost(_)));
    }

    #[test]
    fn who_knows_nothing_of_calls_has_not_answered() {
        let call = made(Target::Device);
        for response in [Response::error(Status::UNAVAILABLE), Response::new("x")] {
            let why = result(response, &call).unwrap().unwrap_err().why;
            assert!(matches!(why, CallError::Lost(_)));
        }
        assert!(result(leaving(), &call).is_none());
    }
}
