//! TC3-HMAC-SHA256 over method, path, query, headers and body.
//!
//! A request has no nonce, nor anything else that is signed and differs each time. SDKs write the time in
//! seconds, so two equal calls within one second have the same signature and are both meant: as in the
//! cloud, a request that is repeated within 5 min is taken again. Who can read requests on their way
//! can repeat them: serve HTTPS.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};

use super::reply::Refusal;
use crate::gateway::http::rfc3339;
use crate::gateway::http::vendor::Vendor;
use crate::gateway::http::vendor::signing::{self, Authorization};
use crate::gateway::keys::Key;

pub(super) const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// How far the time of a request may be from the gateway's, however long nonces are remembered: the
/// vendor's own.
const WINDOW: Duration = Duration::from_mins(5);

/// A request whose signature is right.
pub(super) struct Signed<'a> {
    pub(super) key: Arc<Key>,
    pub(super) service: &'a str,
}

/// `{id}/{date}/{service}/tc3_request`
struct Scope<'a> {
    id: &'a str,
    date: &'a str,
    service: &'a str,
    /// Without the id.
    text: &'a str,
}

pub(super) fn authenticate<'a>(
    vendor: &Vendor,
    parts: &'a Parts,
    body: &[u8],
) -> Result<Signed<'a>, Refusal> {
    check_kind(parts)?;
    let authorization = authorization(&parts.headers)?;
    for name in ["content-type", "host"] {
        if !authorization.signs(name) {
            return Err(malformed(format!("The header {name} must be signed.")));
        }
    }
    let scope = Scope::parse(authorization.credential)?;
    let timestamp = signing::single(&parts.headers, "X-TC-Timestamp").ok_or_else(|| {
        Refusal::invalid("MissingParameter", "The header X-TC-Timestamp is missing.")
    })?;
    check_time(vendor, timestamp, scope.date)?;
    let (key, secret) = vendor.keys.signer(scope.id).ok_or_else(|| {
        Refusal::unauthenticated("AuthFailure.SecretIdNotFound", "The SecretId is not found.")
    })?;
    let digest = signing::sha256_hex(body);
    let right = canonical_requests(parts, &authorization, &digest)?.iter().any(|canonical| {
        let text = string_to_sign(timestamp, scope.text, canonical);
        signing::is_hex_of(authorization.signature, sign(secret, &scope, &text))
    });
    if !right {
        let message = "The signature is wrong: check the SecretKey, and what is signed.";
        return Err(Refusal::unauthenticated("AuthFailure.SignatureFailure", message));
    }
    Ok(Signed { key: key.clone(), service: scope.service })
}

fn check_kind(parts: &Parts) -> Result<(), Refusal> {
    let kind = signing::single(&parts.headers, "content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if parts.method == Method::POST && kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::invalid("UnsupportedProtocol", "Use POST, with a body of application/json."))
}

fn authorization(headers: &HeaderMap) -> Result<Authorization<'_>, Refusal> {
    let text = signing::single(headers, "authorization").unwrap_or_default();
    let rest = text.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' '));
    let rest = rest.ok_or_else(|| malformed(format!("It must be of {ALGORITHM}.")))?;
    Authorization::parse(rest).map_err(|why| malformed(format!("It cannot be read, as {why}.")))
}

impl<'a> Scope<'a> {
    fn parse(credential: &'a str) -> Result<Self, Refusal> {
        let read = || {
            let (id, text) = credential.split_once('/')?;
            let (date, rest) = text.split_once('/')?;
            let (service, end) = rest.split_once('/')?;
            (end == "tc3_request").then_some(Self { id, date, service, text })
        };
        read().ok_or_else(|| malformed("Its Credential is no scope of tc3_request."))
    }
}

/// The time is near the gateway's, and on the date of the scope.
fn check_time(vendor: &Vendor, timestamp: &str, date: &str) -> Result<(), Refusal> {
    let expired =
        |message: &'static str| Refusal::unauthenticated("AuthFailure.SignatureExpire", message);
    let seconds = timestamp.parse().map(Duration::from_secs).map_err(|_| {
        Refusal::invalid("InvalidParameter", "X-TC-Timestamp must be seconds since 1970.")
    })?;
    // What cannot be represented is far away.
    let signed = UNIX_EPOCH.checked_add(seconds).unwrap_or(UNIX_EPOCH);
    vendor
        .replay
        .check_time_within(WINDOW, signed, (vendor.now)())
        .map_err(|_| expired("X-TC-Timestamp is too far from the time of the gateway."))?;
    if date_of(signed).as_deref() != Some(date) {
        return Err(expired("The date in the Credential is not that of X-TC-Timestamp, in UTC."));
    }
    Ok(())
}

/// In UTC; `None` outside the years 1970 to 9999.
pub(super) fn date_of(time: SystemTime) -> Option<String> {
    let mut text = rfc3339::format(time)?;
    text.truncate("2026-11-24".len());
    Some(text)
}

/// The documents have the values of headers in lower case, the SDKs as they are sent: both are
/// right, where they differ at all.
fn canonical_requests(
    parts: &Parts,
    authorization: &Authorization<'_>,
    digest: &str,
) -> Result<Vec<Vec<u8>>, Refusal> {
    let sent = authorization
        .canonical_headers(&parts.headers)
        .map_err(|name| malformed(format!("There is no signed header {name:?}.")))?;
    let lower = sent.to_ascii_lowercase();
    let mut forms = vec![sent];
    if lower != forms[0] {
        forms.push(lower);
    }
    let query = parts.uri.query().unwrap_or_default();
    let whole = |headers: &Vec<u8>| authorization.canonical_request(parts, query, headers, digest);
    Ok(forms.iter().map(whole).collect())
}

fn string_to_sign(timestamp: &str, scope: &str, canonical: &[u8]) -> String {
    format!("{ALGORITHM}\n{timestamp}\n{scope}\n{}", signing::sha256_hex(canonical))
}

fn sign(secret: &str, scope: &Scope<'_>, text: &str) -> [u8; 32] {
    let mut key = signing::hmac_sha256(["TC3", secret].concat().as_bytes(), scope.date.as_bytes());
    for part in [scope.service, "tc3_request"] {
        key = signing::hmac_sha256(&key, part.as_bytes());
    }
    signing::hmac_sha256(&key, text.as_bytes())
}

fn malformed(message: impl Into<String>) -> Refusal {
    let message = ["The Authorization is not valid. ", &message.into()].concat();
    Refusal::unauthenticated("AuthFailure.InvalidAuthorization", message)
}
