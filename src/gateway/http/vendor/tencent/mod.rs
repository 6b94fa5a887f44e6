//! Tencent's API 3.0 of IoT Hub and IoT Explorer: `PublishRRPCMessage` and `CallDeviceRRPCSync`.
//!
//! Every reply is a 200: the SDKs take another status for a broken network.

mod reply;
mod request;
mod signature;
#[cfg(test)]
mod tests;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use self::reply::{About, Refusal};
use self::request::Ask;
use super::{Vendor, signing};
use crate::gateway::call::CallError;
use crate::gateway::http::body::Unread;

/// Whether a request means this API.
pub(super) fn is_meant(headers: &HeaderMap) -> bool {
    let authorization = headers.get("authorization").map(HeaderValue::as_bytes);
    headers.contains_key("x-tc-action")
        || authorization.is_some_and(|value| value.starts_with(signature::ALGORITHM.as_bytes()))
}

pub(super) async fn serve(vendor: &Vendor, parts: &Parts, body: &[u8]) -> Response {
    let mut about = About::new();
    let ask = match understand(vendor, parts, body, &mut about) {
        Ok(ask) => ask,
        Err(refusal) => return refusal.into_response(&about),
    };
    match ask {
        Ask::Publish(call) => match vendor.call(call).await {
            Ok(answer) => reply::published(&answer, &about),
            Err(failure) => Refusal::of_call(&failure.why).into_response(&about),
        },
        Ask::Call(call, reply_topic) => match vendor.call(call).await {
            Ok(answer) => reply::replied(&answer, reply_topic, &about),
            Err(failure) if failure.why == CallError::Timeout => {
                reply::timed_out(failure.message_id, reply_topic, &about)
            }
            Err(failure) => Refusal::of_call(&failure.why).into_response(&about),
        },
    }
}

/// It has no code for what the network does to a body.
pub(super) fn unread(why: Unread) -> Response {
    let refusal = match why {
        Unread::TooLarge => {
            Refusal::invalid("RequestSizeLimitExceeded", "The body of the request is too large.")
        }
        Unread::TooSlow => Refusal::too_slow("The body of the request did not arrive in time."),
        Unread::Broken => {
            Refusal::invalid("InvalidRequest", "The body of the request ended too early.")
        }
    };
    refusal.into_response(&About::new())
}

fn understand(
    vendor: &Vendor,
    parts: &Parts,
    body: &[u8],
    about: &mut About,
) -> Result<Ask, Refusal> {
    let signed = signature::authenticate(vendor, parts, body)?;
    let header = |name: &str| {
        signing::single(&parts.headers, name).ok_or_else(|| {
            Refusal::invalid("MissingParameter", format!("The header {name} is missing."))
        })
    };
    let action = request::action(header("X-TC-Action")?, header("X-TC-Version")?, signed.service)?;
    request::read(vendor, &signed.key, action, body, about)
}
