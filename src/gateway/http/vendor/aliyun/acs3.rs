//! ACS3-HMAC-SHA256 over method, path, query, headers and body, as the SDKs of the Tea family sign.

use std::time::SystemTime;

use axum::http::StatusCode;
use axum::http::request::Parts;

use super::params::Params;
use super::reply::Refusal;
use super::{Signed, Stamp, Vendor, form, mismatch, signer};
use crate::gateway::http::vendor::signing::{self, Authorization};

pub(super) const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// The headers that are read, so that they must be signed; and the type of a body, if it has one.
const READ: [&str; 6] = [
    "host",
    "x-acs-action",
    "x-acs-content-sha256",
    "x-acs-date",
    "x-acs-signature-nonce",
    "x-acs-version",
];

pub(super) fn authenticate(
    vendor: &Vendor,
    parts: &Parts,
    body: &[u8],
    now: SystemTime,
) -> Result<Signed, Refusal> {
    let authorization = authorization(parts)?;
    let header = |name: &str| {
        signing::single(&parts.headers, name)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| incomplete(format!("The header {name} must be given, once, as text.")))
    };
    let typed = parts.headers.contains_key("content-type").then_some("content-type");
    for name in READ.into_iter().chain(typed) {
        header(name)?;
        if !authorization.signs(name) {
            return Err(incomplete(format!("The header {name} must be signed.")));
        }
    }
    let stamp = Stamp { time: header("x-acs-date")?, nonce: header("x-acs-signature-nonce")? };
    let signer = signer(vendor, authorization.credential, &stamp, now)?;
    let digest = signing::sha256_hex(body);
    let query = Params::parse(parts.uri.query().unwrap_or_default().as_bytes())?;
    let string_to_sign = string_to_sign(parts, &query, &authorization, &digest)?;
    let tag = signing::hmac_sha256(signer.secret.as_bytes(), string_to_sign.as_bytes());
    if header("x-acs-content-sha256")? != digest
        || !signing::is_hex_of(authorization.signature, tag)
    {
        return Err(mismatch(&string_to_sign));
    }
    vendor.replay.take(&signer.key.id, stamp.nonce, signer.time, now)?;
    Ok(Signed {
        key: signer.key.clone(),
        action: header("x-acs-action")?.to_owned(),
        version: header("x-acs-version")?.to_owned(),
        params: query.with(form(parts, body)?)?,
    })
}

fn authorization(parts: &Parts) -> Result<Authorization<'_>, Refusal> {
    let text = signing::single(&parts.headers, "authorization").unwrap_or_default();
    let (algorithm, rest) = text.split_once(' ').unwrap_or((text, ""));
    if algorithm != ALGORITHM {
        let message = format!("The Authorization must be of {ALGORITHM}.");
        let bad = StatusCode::BAD_REQUEST;
        return Err(Refusal::unauthenticated(bad, "InvalidSignatureMethod", message));
    }
    Authorization::parse(rest)
        .map_err(|why| incomplete(format!("The Authorization cannot be read, as {why}.")))
}

pub(super) fn string_to_sign(
    parts: &Parts,
    query: &Params,
    authorization: &Authorization<'_>,
    digest: &str,
) -> Result<String, Refusal> {
    let headers = authorization
        .canonical_headers(&parts.headers)
        .map_err(|name| incomplete(format!("There is no signed header {name:?}.")))?;
    let canonical = authorization.canonical_request(parts, &query.canonical(), &headers, digest);
    Ok(format!("{ALGORITHM}\n{}", signing::sha256_hex(&canonical)))
}

fn incomplete(message: String) -> Refusal {
    Refusal::unauthenticated(StatusCode::BAD_REQUEST, "IncompleteSignature", message)
}
