//! What goes wrong in the gateway itself, as problem details (RFC 9457).

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::plain::MESSAGE_ID;
use crate::gateway::call::{CallError, Failure};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An answer that the gateway makes, not a device.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// One word for programs; it stays the same.
    code: &'static str,
    detail: String,
    message_id: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), message_id: None }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    /// Names the exchange that it came of.
    pub(super) fn of_call(self, message_id: u64) -> Self {
        Self { message_id: Some(message_id), ..self }
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// In whole seconds, where to come again may help.
    fn retry_after(&self) -> Option<HeaderValue> {
        matches!(self.code, "too_many" | "unavailable").then(|| HeaderValue::from_static("1"))
    }
}

fn status(error: &CallError) -> StatusCode {
    match error {
        CallError::NoSuchProduct(_) | CallError::NoSuchDevice(_) => StatusCode::NOT_FOUND,
        CallError::NotAllowed(_) => StatusCode::FORBIDDEN,
        CallError::Disabled => StatusCode::CONFLICT,
        CallError::Offline
        | CallError::HalfOpen
        | CallError::NotSubscribed
        | CallError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        CallError::Timeout => StatusCode::GATEWAY_TIMEOUT,
        CallError::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        CallError::Invalid(_) => StatusCode::BAD_REQUEST,
        CallError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        CallError::Failed(_) | CallError::Lost(_) => StatusCode::BAD_GATEWAY,
    }
}

impl From<Failure> for Problem {
    fn from(Failure { why, message_id }: Failure) -> Self {
        Self { message_id, ..Self::new(status(&why), why.code(), why.to_string()) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            // The code says which problem it is, so the type need not (RFC 9457 §4.2.1).
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds);
        }
        if let Some(id) = self.message_id {
            headers.insert(MESSAGE_ID, id.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::call::InFlight;

    #[test]
    fn each_failure_has_its_status_and_its_code() {
        let table = [
            (CallError::NoSuchProduct("p".into()), 404, "no_such_product"),
            (CallError::NoSuchDevice("d".into()), 404, "no_such_device"),
            (CallError::NotAllowed("p".into()), 403, "not_allowed"),
            (CallError::Disabled, 409, "disabled"),
            (CallError::Offline, 503, "offline"),
            (CallError::HalfOpen, 503, "half_open"),
            (CallError::NotSubscribed, 503, "not_subscribed"),
            (CallError::Timeout, 504, "timeout"),
            (CallError::TooMany(InFlight::Key(1)), 429, "too_many"),
            (CallError::Invalid("x".into()), 400, "invalid"),
            (CallError::TooLarge, 413, "too_large"),
            (CallError::Unavailable("broker away"), 503, "unavailable"),
            (CallError::Lost("broker away"), 502, "lost"),
            (CallError::Failed("x".into()), 502, "failed"),
        ];
        for (error, status, code) in table {
            let again = matches!(error, CallError::TooMany(_) | CallError::Unavailable(_));
            let problem = Problem::from(Failure { why: error, message_id: Some(7) });
            assert_eq!((problem.status.as_u16(), problem.code), (status, code));
            let response = problem.into_response();
            assert_eq!(response.headers()[MESSAGE_ID], "7");
            assert_eq!(response.headers().contains_key(RETRY_AFTER), again, "{code}");
        }
    }
}
