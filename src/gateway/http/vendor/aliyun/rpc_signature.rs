//! HMAC-SHA1 over the parameters, in query or form, as `aliyun-python-sdk-core` signs.

use std::time::SystemTime;

use axum::http::StatusCode;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::params::{Params, escape};
use super::reply::Refusal;
use super::{Signed, Stamp, Vendor, form, mismatch, signer};

pub(super) fn authenticate(
    vendor: &Vendor,
    parts: &Parts,
    body: &[u8],
    now: SystemTime,
) -> Result<Signed, Refusal> {
    let query = Params::parse(parts.uri.query().unwrap_or_default().as_bytes())?;
    let mut params = query.with(form(parts, body)?)?;
    let signature = params.remove("Signature").ok_or_else(|| Refusal::missing("Signature"))?;
    let id = params.mandatory("AccessKeyId")?;
    let nonce = params.mandatory("SignatureNonce")?;
    for (name, only) in [("SignatureMethod", "HMAC-SHA1"), ("SignatureVersion", "1.0")] {
        if params.mandatory(name)? != only {
            let message = format!("Specified parameter {name} is not valid: use {only}.");
            let code = format!("Invalid{name}");
            return Err(Refusal::unauthenticated(StatusCode::BAD_REQUEST, code, message));
        }
    }
    let stamp = Stamp { time: params.mandatory("Timestamp")?, nonce };
    let signer = signer(vendor, id, &stamp, now)?;
    let string_to_sign = string_to_sign(parts.method.as_str(), &params);
    let right = STANDARD
        .decode(&signature)
        .is_ok_and(|tag| mac(signer.secret, &string_to_sign).verify_slice(&tag).is_ok());
    if !right {
        return Err(mismatch(&string_to_sign));
    }
    vendor.replay.take(&signer.key.id, stamp.nonce, signer.time, now)?;
    Ok(Signed {
        key: signer.key.clone(),
        action: params.mandatory("Action")?.to_owned(),
        version: params.mandatory("Version")?.to_owned(),
        params,
    })
}

/// The parameters are all but the signature.
pub(super) fn string_to_sign(method: &str, params: &Params) -> String {
    [method, "&%2F&", &escape(&params.canonical())].concat()
}

pub(super) fn mac(secret: &str, string_to_sign: &str) -> Hmac<Sha1> {
    let key = [secret, "&"].concat();
    let mac = Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.chain_update(string_to_sign)
}
