//! Aliyun's API of its IoT Platform, version 2018-01-20: `RRpc`, `InvokeThingService` and `Pub`.
//!
//! A call that was made and failed is a 200 with `Success: false`, a `Code` and an `RrpcCode`; what
//! was wrong before is an error of HTTP, which the SDKs raise. Only JSON is written, also without
//! `Format`.

mod acs3;
mod params;
mod reply;
mod request;
mod rpc_signature;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;

use self::params::Params;
use self::reply::{About, Refusal};
use self::request::Ask;
use super::{Vendor, signing};
use crate::gateway::http::body::Unread;
use crate::gateway::keys::Key;
use crate::gateway::replay::Refused;

const VERSION: &str = "2018-01-20";

/// A request whose signature is right.
struct Signed {
    key: Arc<Key>,
    action: String,
    version: String,
    params: Params,
}

/// What a signature says when and once.
struct Stamp<'a> {
    time: &'a str,
    nonce: &'a str,
}

pub(super) async fn serve(vendor: &Vendor, parts: &Parts, body: &[u8]) -> Response {
    let mut about = About::new(parts);
    let ask = match understand(vendor, parts, body, &mut about) {
        Ok(ask) => ask,
        Err(refusal) => return refusal.into_response(&about),
    };
    match ask {
        Ask::Rrpc(call) => match vendor.call(call).await {
            Ok(answer) => reply::rrpc(&answer, &about),
            Err(failure) => Refusal::of_rrpc(&failure).into_response(&about),
        },
        Ask::Service(call) => match vendor.call(call).await {
            Ok(answer) => reply::service(&answer, &about),
            Err(failure) => Refusal::of_service(&failure).into_response(&about),
        },
        Ask::Publish(publication) => match vendor.publish(*publication).await {
            Ok(message_id) => reply::published(message_id, &about),
            Err(failure) => Refusal::of_publish(&failure).into_response(&about),
        },
    }
}

/// Nothing is known of the cloud's own codes for these.
pub(super) fn unread(parts: &Parts, why: Unread) -> Response {
    let refusal = match why {
        Unread::TooLarge => {
            let message = "The body of the request is too large.";
            Refusal::http(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
        }
        Unread::TooSlow => {
            Refusal::too_slow("RequestTimeout", "The body of the request did not arrive in time.")
        }
        Unread::Broken => {
            Refusal::invalid("IncompleteBody", "The body of the request ended too early.")
        }
    };
    refusal.into_response(&About::new(parts))
}

fn understand(
    vendor: &Vendor,
    parts: &Parts,
    body: &[u8],
    about: &mut About,
) -> Result<Ask, Refusal> {
    if parts.method != Method::GET && parts.method != Method::POST {
        let message = "Use POST, or GET.";
        return Err(Refusal::http(
            StatusCode::METHOD_NOT_ALLOWED,
            "UnsupportedHTTPMethod",
            message,
        ));
    }
    let now = (vendor.now)();
    let signed = if parts.headers.contains_key(header::AUTHORIZATION) {
        acs3::authenticate(vendor, parts, body, now)?
    } else {
        rpc_signature::authenticate(vendor, parts, body, now)?
    };
    if signed.params.given("Format").is_some_and(|format| !format.eq_ignore_ascii_case("json")) {
        return Err(Refusal::invalid("InvalidFormat", "Format must be JSON."));
    }
    if signed.version != VERSION {
        let message = format!("Specified parameter Version is not valid: use {VERSION}.");
        return Err(Refusal::invalid("InvalidVersion", message));
    }
    request::read(vendor, &signed, about)
}

/// Who signs.
struct Signer<'a> {
    key: &'a Arc<Key>,
    secret: &'a str,
    /// When.
    time: SystemTime,
}

/// The key that signs; and the request's time is near the gateway's.
fn signer<'a>(
    vendor: &'a Vendor,
    id: &str,
    stamp: &Stamp<'_>,
    now: SystemTime,
) -> Result<Signer<'a>, Refusal> {
    let time = humantime::parse_rfc3339(stamp.time).map_err(|_| {
        let message = "The time of the request must be like 2026-11-24T08:24:55Z.";
        Refusal::unauthenticated(StatusCode::BAD_REQUEST, "InvalidTimeStamp.Format", message)
    })?;
    vendor.replay.check_time(time, now).map_err(Refusal::from)?;
    let (key, secret) = vendor.keys.signer(id).ok_or_else(|| {
        let message = "Specified access key is not found.";
        Refusal::unauthenticated(StatusCode::NOT_FOUND, "InvalidAccessKeyId.NotFound", message)
    })?;
    Ok(Signer { key, secret, time })
}

/// A wrong signature; Python's SDK takes the message apart at its colon.
fn mismatch(string_to_sign: &str) -> Refusal {
    let message =
        "Specified signature is not matched with our calculation. server string to sign is:";
    Refusal::unauthenticated(
        StatusCode::BAD_REQUEST,
        "SignatureDoesNotMatch",
        [message, string_to_sign].concat(),
    )
}

/// The parameters in the body.
fn form(parts: &Parts, body: &[u8]) -> Result<Params, Refusal> {
    const FORM: &str = "application/x-www-form-urlencoded";

    if body.is_empty() {
        return Ok(Params::default());
    }
    let kind = if parts.headers.contains_key(header::CONTENT_TYPE) {
        signing::single(&parts.headers, "content-type").unwrap_or_default()
    } else {
        FORM
    };
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM) {
        let message = format!("The body must be {FORM}.");
        return Err(Refusal::invalid("UnsupportedContentType", message));
    }
    Params::parse(body)
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let bad = StatusCode::BAD_REQUEST;
        match refused {
            Refused::Expired => {
                let message = "Specified time stamp or date value is expired.";
                Self::unauthenticated(bad, "InvalidTimeStamp.Expired", message)
            }
            Refused::Used => {
                let message = "Specified signature nonce was used already.";
                Self::unauthenticated(bad, "SignatureNonceUsed", message)
            }
            Refused::Full => {
                let message = "More nonces are in use than the gateway remembers.";
                Self::throttled("Throttling", message)
            }
        }
    }
}
