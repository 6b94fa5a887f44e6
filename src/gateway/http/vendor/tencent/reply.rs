//! What the SDKs read.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::gateway::call::{Answer, CallError};
use crate::gateway::http::outcome::Outcome;
use crate::gateway::http::vendor::request_id;

/// What every reply says of its request.
pub(super) struct About {
    pub(super) product: Option<Box<str>>,
    request_id: String,
}

impl About {
    pub(super) fn new() -> Self {
        Self { product: None, request_id: request_id() }
    }

    fn reply(&self, result: &'static str, mut body: Value) -> Response {
        body["RequestId"] = self.request_id.as_str().into();
        let mut response = Response::new(Body::from(json!({ "Response": body }).to_string()));
        // Without a charset: with one, the SDKs see no error.
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.extensions_mut().insert(Outcome { product: self.product.clone(), result });
        response
    }
}

/// Why there is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    code: &'static str,
    message: Cow<'static, str>,
    result: &'static str,
}

impl Refusal {
    pub(super) fn invalid(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), result: "invalid" }
    }

    pub(super) fn too_slow(message: &'static str) -> Self {
        Self { code: "InvalidRequest", message: message.into(), result: "too_slow" }
    }

    pub(super) fn unauthenticated(
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code, message: message.into(), result: "unauthorized" }
    }

    /// One of the codes that the actions have is for what cannot happen here:
    /// `LimitExceeded.OfflineMessageExceedLimit` is about messages that are kept for a device that is offline,
    /// and a call is never kept.
    pub(super) fn of_call(why: &CallError) -> Self {
        let code = match why {
            // The actions have no code of their own for a product.
            CallError::NoSuchProduct(_) | CallError::NoSuchDevice(_) => {
                "ResourceNotFound.DeviceNotExist"
            }
            CallError::NotAllowed(_) => "UnauthorizedOperation",
            CallError::Disabled => "FailedOperation.DeviceAlreadyDisabled",
            CallError::Offline | CallError::HalfOpen => "FailedOperation.DeviceOffline",
            CallError::NotSubscribed => "FailedOperation.DeviceNoSubscription",
            CallError::Timeout => "FailedOperation.RRPCTimeout",
            CallError::TooMany(_) => "RequestLimitExceeded",
            CallError::Invalid(_) => "InvalidParameter",
            CallError::TooLarge => "InvalidParameterValue.PayloadOverLimit",
            CallError::Unavailable(_) | CallError::Lost(_) => "InternalError",
            CallError::Failed(_) => "FailedOperation",
        };
        Self { code, message: why.to_string().into(), result: why.code() }
    }

    pub(super) fn into_response(self, about: &About) -> Response {
        let Self { code, message, result } = self;
        let mut response =
            about.reply(result, json!({ "Error": { "Code": code, "Message": message } }));
        if code == "RequestLimitExceeded" {
            let second = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, second);
        }
        response
    }
}

/// Tencent's devices have no status. One that has, and answers with that of an error, has failed.
fn device_error(answer: &Answer) -> Option<Refusal> {
    (answer.status.code() >= 400).then(|| Refusal {
        code: "FailedOperation",
        message: format!("the device has answered with status {}", answer.status).into(),
        result: "device_error",
    })
}

pub(super) fn published(answer: &Answer, about: &About) -> Response {
    if let Some(refusal) = device_error(answer) {
        return refusal.into_response(about);
    }
    let body = json!({
        "MessageId": answer.message_id,
        "PayloadBase64": STANDARD.encode(&answer.payload),
    });
    about.reply("ok", body)
}

pub(super) fn replied(answer: &Answer, reply_topic: Option<String>, about: &About) -> Response {
    if let Some(refusal) = device_error(answer) {
        return refusal.into_response(about);
    }
    let payload = STANDARD.encode(&answer.payload);
    let body = call_reply("Replied", Some(answer.message_id), &payload, reply_topic, about);
    about.reply("ok", body)
}

/// A call that got no answer is not an error.
pub(super) fn timed_out(
    message_id: Option<u64>,
    reply_topic: Option<String>,
    about: &About,
) -> Response {
    about.reply("timeout", call_reply("Timeout", message_id, "", reply_topic, about))
}

fn call_reply(
    status: &str,
    message_id: Option<u64>,
    payload: &str,
    reply_topic: Option<String>,
    about: &About,
) -> Value {
    json!({
        "ClientToken": format!("v2gateway::{}", about.request_id),
        "Status": status,
        "MessageId": message_id,
        "PayloadBase64": payload,
        "ReplyTopic": reply_topic.unwrap_or_default(),
    })
}
