//! Native MQTT 5 requesters call devices of other dialects: the topics of native devices stand for
//! all devices.
//!
//! | request to | calls |
//! |---|---|
//! | `devices/{product}/{device}` | the device |
//! | `devices/{product}/{device}/{service}` | one of its services |
//! | `devices/{product}/{device}/user/…` | what listens on its topic `/{product}/{device}/user/…` (Tencent: without the first slash) |
//!
//! # Who may
//!
//! Over the embedded hub, whoever has proved to it that it is an access key: the hub writes
//! `key:{id}` into its requests. The key must be allowed to call the product, and its calls are
//! counted. Beside a broker the broker's rules decide who may publish to `devices/#`, and nobody is
//! counted.
//!
//! An answer goes to the response topic of the request, as the gateway, which may publish more than a
//! caller may. So response topics are those of [`Mqtt`](crate::gateway::config::Mqtt) alone, and none that
//! devices or gateways listen on.
//!
//! # What is answered when there is no answer
//!
//! | | status |
//! |---|---|
//! | the device or its product does not exist | 404 |
//! | the key may not call the product | 403; 401 without a key |
//! | the device is disabled | 409 |
//! | not connected, half open, not subscribed; the gateway or its broker is away | 503 |
//! | the connection ended with the call in flight; the broker refuses the request | 502 |
//! | no answer in the longest time that the dialect allows (at the caller's own deadline nothing is said) | 408 |
//! | too many calls in flight | 429 |
//! | invalid, too large | 400, 413 |

use std::convert::Infallible;
use std::sync::Arc;

use super::switchboard::Switchboard;
use crate::core::topic::TopicFilter;
use crate::core::topic::TopicName;
use crate::error::ServeError;
use crate::gateway::call::{Call, CallError, Failure, Target, with_message_id};
use crate::gateway::config::Dialect;
use crate::gateway::devices::key_of;
use crate::gateway::now;
use crate::layer::authorize::hub_identity::{CLIENT_ID, IDENTITY};
use crate::link::Link;
use crate::message::{Parts, Request, Response, Status};
use crate::responder::Responder;

/// Answers on this link, for all products that are not native; `None` when there are none.
///
/// # Errors
/// As [`ResponderBuilder::serve`](crate::responder::ResponderBuilder::serve).
pub(super) async fn serve(
    link: &Link,
    board: &Arc<Switchboard>,
    share: Option<&str>,
) -> Result<Option<Responder>, ServeError> {
    let products = board.products.iter().filter(|product| product.dialect != Dialect::Native);
    let filters = products.map(|product| TopicFilter::new(format!("devices/{}/#", product.id)));
    let filters: Vec<_> = filters.collect::<Result<_, _>>().map_err(configuration)?;
    if filters.is_empty() {
        return Ok(None);
    }
    let policy = Arc::clone(board);
    // Twice as many as may be in flight, so that one too many gets as far as being told so.
    let concurrency = board.limiter.limits().in_flight.saturating_mul(2);
    let mut builder = Responder::builder(link.clone())
        .concurrency(concurrency)
        .allow_response_topic(move |topic, _| policy.may_be_answered_on(topic));
    if let Some(name) = share {
        builder = builder.share(name);
    }
    let board = Arc::clone(board);
    let service = tower::service_fn(move |request| {
        let board = Arc::clone(&board);
        async move { Ok::<_, Infallible>(answer(&board, request).await) }
    });
    builder.serve_service(filters, service).await.map(Some)
}

fn configuration(error: impl std::fmt::Display) -> ServeError {
    ServeError::Configuration(error.to_string().into())
}

async fn answer(board: &Switchboard, request: Request) -> Response {
    let call = match call(board, request) {
        Ok(call) => call,
        Err(status) => return Response::error(status),
    };
    match board.call(call).await {
        Ok(answer) => answer.into_response(),
        Err(Failure { why, message_id }) => {
            with_message_id(Response::error(status(&why)), message_id)
        }
    }
}

/// What a request asks for.
fn call(board: &Switchboard, request: Request) -> Result<Call, Status> {
    let (mut parts, payload) = request.into_parts();
    let key = board.roster.is_some().then(|| key(&mut parts)).transpose()?;
    let no_route = || Status::NOT_FOUND.with_message("no such route");
    let (product, device, rest) = split(&parts.topic).ok_or_else(no_route)?;
    let dialect = board.products.get(product).map(|product| product.dialect);
    let target = target(dialect, product, device, rest).ok_or_else(no_route)?;
    let (product, device) = (product.into(), device.into());
    let timeout = parts.deadline.map(|at| at.saturating_duration_since(now()));
    let content_type = parts.content_type;
    let api = "native";
    Ok(Call { product, device, target, payload, content_type, timeout, key, api })
}

/// Which access key asks.
fn key(parts: &mut Parts) -> Result<Arc<str>, Status> {
    parts.user_properties.remove(CLIENT_ID);
    let identity = parts.user_properties.remove(IDENTITY).ok_or(Status::UNAUTHORIZED)?;
    key_of(&identity)
        .map(Into::into)
        .ok_or(Status::FORBIDDEN.with_message("only access keys call devices"))
}

/// Product, device, and what follows.
fn split(topic: &TopicName) -> Option<(&str, &str, Option<&str>)> {
    let (product, rest) = topic.as_str().strip_prefix("devices/")?.split_once('/')?;
    match rest.split_once('/') {
        Some((device, rest)) => Some((product, device, Some(rest))),
        None => Some((product, rest, None)),
    }
}

fn target(
    dialect: Option<Dialect>,
    product: &str,
    device: &str,
    rest: Option<&str>,
) -> Option<Target> {
    let Some(rest) = rest else { return Some(Target::Device) };
    if !rest.contains('/') {
        return Some(Target::Service(rest.into()));
    }
    let slash = if dialect == Some(Dialect::Aliyun) { "/" } else { "" };
    let own = rest.starts_with("user/").then(|| format!("{slash}{product}/{device}/{rest}"))?;
    TopicName::new(own).ok().map(Target::Topic)
}

/// What the caller is told when there is no answer.
fn status(why: &CallError) -> Status {
    let status = match why {
        CallError::NoSuchProduct(_) | CallError::NoSuchDevice(_) => Status::NOT_FOUND,
        CallError::NotAllowed(_) => Status::FORBIDDEN,
        CallError::Disabled => Status::CONFLICT,
        CallError::Timeout => Status::TIMEOUT,
        CallError::TooMany(_) => Status::TOO_MANY_REQUESTS,
        CallError::Invalid(_) => Status::BAD_REQUEST,
        CallError::TooLarge => Status::TOO_LARGE,
        CallError::Offline
        | CallError::HalfOpen
        | CallError::NotSubscribed
        | CallError::Unavailable(_) => Status::UNAVAILABLE,
        CallError::Lost(_) | CallError::Failed(_) => Status::BAD_GATEWAY,
    };
    status.with_message(why.to_string())
}

impl Switchboard {
    /// Whether it is a response topic, and nobody who is asked or told something listens there.
    fn may_be_answered_on(&self, topic: &TopicName) -> bool {
        let first = topic.levels().next().unwrap_or_default();
        let reserved = topic.is_reserved() || matches!(first, "" | "devices" | "gateways");
        let allowed = self.response_topics.iter().any(|filter| filter.matches(topic));
        allowed && !reserved && self.products.get(first).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    /// 503 is repeated by whoever retries, as it says that nothing was executed.
    #[test]
    fn what_may_have_been_executed_is_not_503() {
        assert_eq!(status(&CallError::Lost("cut")).code(), 502);
        assert_eq!(status(&CallError::Failed("unreadable".into())).code(), 502);
        assert_eq!(status(&CallError::Unavailable("broker away")).code(), 503);
    }

    #[test]
    fn a_topic_says_who_is_asked_for_what() {
        let read = |dialect, text: &str| {
            let topic = topic(text);
            let (product, device, rest) = split(&topic)?;
            target(Some(dialect), product, device, rest)
        };
        let own = |text: &str| Some(Target::Topic(topic(text)));
        assert_eq!(read(Dialect::Aliyun, "devices/p/d"), Some(Target::Device));
        let service = Some(Target::Service("get".into()));
        assert_eq!(read(Dialect::Aliyun, "devices/p/d/get"), service);
        assert_eq!(read(Dialect::Aliyun, "devices/p/d/user/get"), own("/p/d/user/get"));
        assert_eq!(read(Dialect::TencentExplorer, "devices/p/d/user/x/y"), own("p/d/user/x/y"));
        for none in ["devices/p", "devices/p/d/a/b", "else/p/d"] {
            assert_eq!(read(Dialect::Aliyun, none), None, "{none}");
        }
    }

    #[test]
    fn only_an_access_key_calls() {
        let asked = |identity: Option<&'static str>| {
            let mut parts = Parts::new(topic("devices/p/d"));
            parts.user_properties.extend(identity.map(|identity| (IDENTITY, identity)));
            key(&mut parts).map_err(|status| status.code())
        };
        assert_eq!(asked(Some("key:app")), Ok("app".into()));
        assert_eq!(asked(Some("p/d")), Err(403));
        assert_eq!(asked(None), Err(401));
    }
}
