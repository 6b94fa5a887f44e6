//! The plain API: a device is called with an ordinary request, and its answer is the response.
//!
//! `POST /v1/devices/{product}/{device}/call`: the body is the payload, and `Content-Type` is carried
//! through, both ways. The query may say
//!
//! - `timeout=2s`, `timeout=1500ms`: how long to wait, 1 ms to 60 s; the product's by default;
//! - `topic=/{product}/{device}/user/get`: one of the device's own topics, instead of the device itself;
//! - `service=unlock`: one of its services, with JSON parameters;
//! - `status=header`: that the response to an answer of the device's is 200, whatever its status.
//!
//! What the device has answered has the header `status-from: device`, and its status is the response's, and
//! in the header `device-status`; every other response is a [problem](super::problem) of the gateway.
//!
//! A browser, and other clients that repeat a request by themselves when the response is 408 (RFC 9110 §15.5.9),
//! should ask for `status=header`: a device says 408 when it may have done a part of the work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Deserializer, de};
use tower::ServiceExt;

use super::caller::{Caller, not_allowed};
use super::outcome::Outcome;
use super::problem::Problem;
use super::routes::App;
use crate::core::packet::Text;
use crate::core::topic::TopicName;
use crate::gateway::call::{Answer, Call, Target};

/// The id of the exchange, decimal; also on a failure that got one.
pub(super) const MESSAGE_ID: HeaderName = HeaderName::from_static("message-id");
/// `device` on what a device has answered.
const STATUS_FROM: HeaderName = HeaderName::from_static("status-from");
/// The code of the device's status.
const DEVICE_STATUS: HeaderName = HeaderName::from_static("device-status");
/// The text of the device's status, percent-encoded; at most so many characters of it.
const STATUS_MESSAGE: HeaderName = HeaderName::from_static("status-message");
const STATUS_MESSAGE_LENGTH: usize = 256;
const NOT_PLAIN: AsciiSet = CONTROLS.add(b'%');

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const LONGEST: Duration = Duration::from_mins(1);
const SHORTEST: Duration = Duration::from_millis(1);

/// What the query may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(default, deserialize_with = "timeout")]
    timeout: Option<Duration>,
    topic: Option<String>,
    service: Option<String>,
    status: Option<StatusIn>,
}

/// Where the device's status is told, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StatusIn {
    Header,
}

fn timeout<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    match humantime::parse_duration(&text) {
        Ok(timeout) if (SHORTEST..=LONGEST).contains(&timeout) => Ok(Some(timeout)),
        _ => Err(de::Error::custom("a duration from 1ms to 60s is expected, such as 2s or 1500ms")),
    }
}

impl Asked {
    fn target(self) -> Result<(Target, Option<Duration>), Problem> {
        let target = match (self.topic, self.service) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("either topic or service, not both"));
            }
            (Some(topic), None) => TopicName::new(topic)
                .map(Target::Topic)
                .map_err(|error| Problem::invalid(format!("topic: {error}")))?,
            (None, Some(service)) if service.is_empty() => {
                return Err(Problem::invalid("service: a name is expected"));
            }
            (None, Some(service)) => Target::Service(service.into()),
            (None, None) => Target::Device,
        };
        Ok((target, self.timeout))
    }
}

pub(super) async fn call(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<Asked>, QueryRejection>,
    caller: Result<Caller, Problem>,
    request: Request,
) -> Response {
    let result = match caller {
        Ok(caller) => answer(&app, path, query, &caller, request).await,
        Err(problem) => Err(problem),
    };
    let (outcome, mut response) = match result {
        Ok(answered) => (answered.outcome(), respond(answered)),
        Err(problem) => (problem.code(), problem.into_response()),
    };
    response.extensions_mut().insert(Outcome { product: None, result: outcome });
    response
}

/// What a device has answered, and how it is told.
struct Answered {
    status: StatusCode,
    status_in: Option<StatusIn>,
    answer: Answer,
}

impl Answered {
    fn outcome(&self) -> &'static str {
        if self.status.as_u16() < 400 { "ok" } else { "device_error" }
    }
}

async fn answer(
    app: &App,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<Asked>, QueryRejection>,
    Caller(key): &Caller,
    request: Request,
) -> Result<Answered, Problem> {
    let Path((product, device)) = path.map_err(|error| Problem::invalid(error.body_text()))?;
    let Query(asked) = query.map_err(|error| Problem::invalid(error.body_text()))?;
    if !key.may_call(&product) {
        return Err(not_allowed(&product));
    }
    let status_in = asked.status;
    let (target, timeout) = asked.target()?;
    let (parts, body) = request.into_parts();
    let content_type = content_type(&parts)?;
    let payload = app.bounds.read(&parts, body).await?;
    let call = Call {
        product: product.into(),
        device: device.into(),
        target,
        payload,
        content_type,
        timeout,
        key: Some(key.id.clone()),
        api: "plain",
    };
    let answer = app.front.calls.clone().oneshot(call).await?;
    Ok(Answered { status: status(&answer)?, status_in, answer })
}

fn content_type(parts: &Parts) -> Result<Option<Text>, Problem> {
    let Some(value) = parts.headers.get(CONTENT_TYPE) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Problem::invalid("Content-Type: ASCII is expected"))?;
    Ok(Some(Text::Owned(text.to_owned())))
}

/// What a device has answered, as a response.
fn respond(Answered { status, status_in, answer }: Answered) -> Response {
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = match status_in {
        None => status,
        Some(StatusIn::Header) => StatusCode::OK,
    };
    let headers = response.headers_mut();
    headers.insert(DEVICE_STATUS, status.as_u16().into());
    headers.insert(MESSAGE_ID, answer.message_id.into());
    headers.insert(STATUS_FROM, HeaderValue::from_static("device"));
    if let Some(message) = answer.status.message().and_then(message) {
        headers.insert(STATUS_MESSAGE, message);
    }
    if has_content(status) {
        let content_type = answer.content_type.and_then(|text| HeaderValue::from_str(&text).ok());
        headers.insert(CONTENT_TYPE, content_type.unwrap_or(OCTETS));
        *response.body_mut() = answer.payload.into();
    }
    response
}

/// None that is only for a connection (1xx), and none that HTTP does not have.
fn status(answer: &Answer) -> Result<StatusCode, Problem> {
    let code = answer.status.code();
    let status = (200..600).contains(&code).then(|| StatusCode::from_u16(code).ok()).flatten();
    status.ok_or_else(|| {
        let detail = format!("the device answered with a status of {code}");
        Problem::new(StatusCode::BAD_GATEWAY, "invalid_status", detail).of_call(answer.message_id)
    })
}

/// RFC 9110 §6.4.1, §15.3.6.
fn has_content(status: StatusCode) -> bool {
    ![StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
}

fn message(text: &str) -> Option<HeaderValue> {
    let text: String = text.chars().take(STATUS_MESSAGE_LENGTH).collect();
    HeaderValue::try_from(utf8_percent_encode(&text, &NOT_PLAIN).to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Status;

    fn asked(query: &str) -> Result<(Target, Option<Duration>), String> {
        let uri = format!("/?{query}").parse().unwrap();
        let Query(asked) = Query::<Asked>::try_from_uri(&uri).map_err(|e| e.body_text())?;
        asked.target().map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn a_query_says_what_is_asked_and_for_how_long() {
        assert_eq!(asked(""), Ok((Target::Device, None)));
        let two = Some(Duration::from_secs(2));
        assert_eq!(asked("timeout=2s"), Ok((Target::Device, two)));
        let service = Target::Service("unlock".into());
        assert_eq!(asked("service=unlock&timeout=2000ms"), Ok((service, two)));
        let topic = Target::Topic(TopicName::new("/a1/d/user/get").unwrap());
        assert_eq!(asked("topic=%2Fa1%2Fd%2Fuser%2Fget"), Ok((topic, None)));
        for bound in ["1ms", "60s", "1m"] {
            assert!(asked(&format!("timeout={bound}")).is_ok(), "{bound}");
        }
    }

    #[test]
    fn a_wrong_query_is_named() {
        let table = [
            ("timout=2s", "timout"),
            ("timeout=2", "duration"),
            ("timeout=", "duration"),
            ("timeout=999us", "duration"),
            ("timeout=60001ms", "duration"),
            ("timeout=99999999999999999999years", "duration"),
            ("timeout=1s&timeout=2s", "duplicate"),
            ("topic=a&service=b", "not both"),
            ("topic=a/%23", "topic"),
            ("topic=", "topic"),
            ("service=", "service"),
        ];
        for (query, word) in table {
            let error = asked(query).expect_err(query);
            assert!(error.contains(word), "{query}: {error}");
        }
    }

    fn answered(status: Status) -> Response {
        answered_in(None, status)
    }

    fn answered_in(status_in: Option<StatusIn>, status: Status) -> Response {
        let content_type = Some("a/b".into());
        let answer = Answer { status, payload: "x".into(), content_type, message_id: u64::MAX };
        match super::status(&answer) {
            Ok(status) => respond(Answered { status, status_in, answer }),
            Err(problem) => problem.into_response(),
        }
    }

    #[test]
    fn the_status_of_a_device_becomes_the_responses() {
        for code in [200, 201, 204, 299, 304, 404, 418, 500, 599] {
            let response = answered(Status::new(code));
            assert_eq!(response.status().as_u16(), code);
            assert_eq!(response.headers()[STATUS_FROM], "device");
            assert_eq!(response.headers()[DEVICE_STATUS], *code.to_string());
            assert_eq!(response.headers()[MESSAGE_ID], "18446744073709551615");
            assert_eq!(response.headers().contains_key(CONTENT_TYPE), ![204, 304].contains(&code));
        }
        for code in [0, 100, 101, 199, 600, 999, u16::MAX] {
            let response = answered(Status::new(code));
            assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{code}");
            assert!(!response.headers().contains_key(STATUS_FROM));
            assert_eq!(response.headers()[MESSAGE_ID], "18446744073709551615");
        }
    }

    #[test]
    fn the_status_of_a_device_may_be_in_a_header_alone() {
        assert_eq!(asked("status=header"), Ok((Target::Device, None)));
        assert!(asked("status=body").is_err());
        for code in [200, 204, 401, 408] {
            let response = answered_in(Some(StatusIn::Header), Status::new(code));
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()[DEVICE_STATUS], *code.to_string());
        }
        let response = answered_in(Some(StatusIn::Header), Status::new(999));
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    }

    #[test]
    fn the_text_of_a_status_cannot_break_a_header() {
        let text = format!("50% zu heiß\r\nx: y{}", "z".repeat(999));
        let response = answered(Status::new(500).with_message(text));
        let header = response.headers()[STATUS_MESSAGE].to_str().unwrap();
        assert!(header.starts_with("50%25 zu hei%C3%9F%0D%0Ax: yzz"), "{header}");
        assert!(header.len() < 300);
    }

    #[test]
    fn a_content_type_that_is_none_for_http_is_not_passed_on() {
        let content_type = Some("a/b\r\nx: y".into());
        let answer =
            Answer { status: Status::new(200), payload: "x".into(), content_type, message_id: 1 };
        let answered = Answered { status: StatusCode::OK, status_in: None, answer };
        assert_eq!(respond(answered).headers()[CONTENT_TYPE], OCTETS);
    }
}
