//! What the SDKs read.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use crate::gateway::call::{Answer, CallError, Failure, InFlight};
use crate::gateway::http::outcome::Outcome;
use crate::gateway::http::vendor::{request_id, signing};

/// What every reply says of its request.
pub(super) struct About {
    pub(super) product: Option<Box<str>>,
    request_id: String,
    host: String,
}

impl About {
    pub(super) fn new(parts: &Parts) -> Self {
        let host = signing::single(&parts.headers, "host").unwrap_or_default().to_owned();
        Self { product: None, request_id: request_id().to_uppercase(), host }
    }

    fn reply(
        &self,
        status: StatusCode,
        result: &'static str,
        body: &Map<String, Value>,
    ) -> Response {
        let text = serde_json::to_vec(body).expect("a JSON object can be written");
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json;charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.extensions_mut().insert(Outcome { product: self.product.clone(), result });
        response
    }

    fn succeeded(&self, result: &'static str, mut body: Map<String, Value>) -> Response {
        body.insert("RequestId".into(), self.request_id.as_str().into());
        self.reply(StatusCode::OK, result, &body)
    }
}

/// Why there is no success. With status 200 it is `Success: false`, which an SDK returns; otherwise
/// an error, which it raises.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    result: &'static str,
    /// The `RrpcCode`, `MessageId` and the like of a call that failed.
    more: Map<String, Value>,
}

impl Refusal {
    fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
        result: &'static str,
    ) -> Self {
        Self { status, code: code.into(), message: message.into(), result, more: Map::new() }
    }

    /// The request cannot be understood.
    pub(super) fn http(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(status, code, message, "invalid")
    }

    pub(super) fn invalid(
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::http(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn too_slow(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, code, message, "too_slow")
    }

    pub(super) fn missing(name: &str) -> Self {
        let message = format!("{name} is mandatory for this action.");
        Self::invalid(format!("Missing{name}"), message)
    }

    pub(super) fn unauthenticated(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(status, code, message, "unauthorized")
    }

    pub(super) fn throttled(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message, "too_many")
    }

    /// The platform has understood the request, and finds a value that it does not take.
    pub(super) fn of_value(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::OK, code, message, "invalid")
    }

    pub(super) fn of_rrpc(failure: &Failure) -> Self {
        let mut refusal = Self::of_call(failure, "iot.messagebroker.RrpcFailed");
        refusal.more.insert("RrpcCode".into(), rrpc_code(&failure.why).into());
        if let Some(id) = failure.message_id {
            refusal.more.insert("MessageId".into(), id.into());
        }
        refusal
    }

    pub(super) fn of_service(failure: &Failure) -> Self {
        let mut refusal = Self::of_call(failure, "iot.messagebroker.RrpcFailed");
        if let Some(id) = failure.message_id {
            refusal.more.insert("Data".into(), json!({ "MessageId": id.to_string() }));
        }
        refusal
    }

    pub(super) fn of_publish(failure: &Failure) -> Self {
        Self::of_call(failure, "iot.messagebroker.PublishMessageFailed")
    }

    /// `otherwise` is the code of what Aliyun has no code for. `iot.system.IllegalRequest` is its
    /// code of any value that it does not take.
    fn of_call(Failure { why, message_id }: &Failure, otherwise: &'static str) -> Self {
        let (ok, result, message) = (StatusCode::OK, why.code(), why.to_string());
        let (status, code) = match why {
            CallError::NotAllowed(_) => {
                (StatusCode::FORBIDDEN, "iot.common.RamActionPermissionDeny")
            }
            CallError::TooMany(InFlight::Key(_)) => {
                (StatusCode::TOO_MANY_REQUESTS, "Throttling.User")
            }
            CallError::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "iot.messagebroker.RateLimit"),
            // Nothing has been sent: an SDK may raise it, and its caller ask again.
            CallError::Unavailable(_) if message_id.is_none() => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
            CallError::NoSuchProduct(_) => (ok, "iot.prod.NotExistedProduct"),
            CallError::NoSuchDevice(_) => (ok, "iot.device.NotExistedDevice"),
            // It has no code of its own for a device that is disabled, which is never connected.
            CallError::Disabled | CallError::Offline => (ok, "iot.messagebroker.OFFLINE"),
            CallError::HalfOpen => (ok, "iot.messagebroker.HALFCONN"),
            CallError::Timeout => (ok, "iot.messagebroker.TIMEOUT"),
            CallError::Invalid(_) | CallError::TooLarge => (ok, "iot.system.IllegalRequest"),
            CallError::NotSubscribed
            | CallError::Unavailable(_)
            | CallError::Lost(_)
            | CallError::Failed(_) => (ok, otherwise),
        };
        Self::new(status, code, message, result)
    }

    pub(super) fn into_response(self, about: &About) -> Response {
        let Self { status, code, message, result, more: mut body } = self;
        body.insert("RequestId".into(), about.request_id.as_str().into());
        body.insert("Code".into(), code.into());
        if status.is_success() {
            body.insert("Success".into(), false.into());
            body.insert("ErrorMessage".into(), message.into());
        } else {
            body.insert("HostId".into(), about.host.as_str().into());
            body.insert("Message".into(), message.into());
        }
        let mut response = about.reply(status, result, &body);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let second = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, second);
        }
        response
    }
}

fn rrpc_code(why: &CallError) -> &'static str {
    match why {
        CallError::Disabled | CallError::Offline => "OFFLINE",
        CallError::HalfOpen => "HALFCONN",
        CallError::Timeout => "TIMEOUT",
        _ => "UNKNOWN",
    }
}

fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A device that has a status, and answers with one of an error, has failed: Aliyun's RRPC has no
/// status.
pub(super) fn rrpc(answer: &Answer, about: &About) -> Response {
    let mut body = object([
        ("Success", true.into()),
        ("RrpcCode", "SUCCESS".into()),
        ("PayloadBase64Byte", STANDARD.encode(&answer.payload).into()),
        ("MessageId", answer.message_id.into()),
    ]);
    let mut result = "ok";
    if answer.status.code() >= 400 {
        let message = format!("the device has answered with status {}", answer.status);
        body.extend(object([
            ("Success", false.into()),
            ("RrpcCode", "UNKNOWN".into()),
            ("Code", "iot.messagebroker.RrpcFailed".into()),
            ("ErrorMessage", message.into()),
        ]));
        result = "device_error";
    }
    about.succeeded(result, body)
}

/// The reply of a device to a service.
#[derive(Serialize)]
struct Alink<'a> {
    code: u16,
    data: Box<RawValue>,
    id: &'a str,
    message: &'a str,
    version: &'static str,
}

/// A service that has answered is a success, whatever its code: that is for the caller to judge.
pub(super) fn service(answer: &Answer, about: &About) -> Response {
    let Answer { status, payload, message_id, .. } = answer;
    let id = message_id.to_string();
    let name = if status.is_success() { "success" } else { status.name() };
    let alink = Alink {
        code: status.code(),
        data: data_of(payload),
        id: &id,
        message: status.message().unwrap_or(name),
        version: "1.0",
    };
    let result = serde_json::to_string(&alink).expect("numbers and text can be written");
    let body =
        object([("Success", true.into()), ("Data", json!({ "MessageId": id, "Result": result }))]);
    about.succeeded(if status.code() >= 400 { "device_error" } else { "ok" }, body)
}

/// `Pub`'s message id is text, unlike that of `RRpc`.
pub(super) fn published(message_id: u64, about: &About) -> Response {
    let id = message_id.to_string();
    about.succeeded("ok", object([("Success", true.into()), ("MessageId", id.into())]))
}

/// As it is. What is no JSON is given as text, and what is no text in base64.
fn data_of(payload: &[u8]) -> Box<RawValue> {
    let as_text = || match std::str::from_utf8(payload) {
        Ok(text) => to_raw_value(text),
        Err(_) => to_raw_value(&STANDARD.encode(payload)),
    };
    if payload.is_empty() {
        return to_raw_value(&Map::new()).expect("a JSON object can be written");
    }
    serde_json::from_slice(payload).or_else(|_| as_text()).expect("text can be written as JSON")
}
