//! Devices as Tencent's SDKs make them.
//!
//! The user name is `{client id};{app id};{connection id};{expiry}`, and what is signed. The expiry is in
//! seconds or milliseconds, and for some SDKs it is the time at which the device connects: it is not compared
//! with a clock.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::Shown;
use super::signature::Method;

/// The application ids that the SDKs have: those for Java, and those for C and Python.
const APP_IDS: [&str; 2] = ["12010126", "21010406"];

/// Whether the user name is one of Tencent's, for this client identifier.
pub(super) fn is_user(shown: Shown<'_>) -> bool {
    let mut fields = shown.user.split(';');
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    fields.next() == Some(shown.client_id)
        && fields.next().is_some_and(|app| APP_IDS.contains(&app))
        && fields.next().is_some_and(|connection| !connection.is_empty())
        && fields.next().is_some_and(is_number)
        && fields.next().is_none()
}

/// Whether the password is a signature with this secret, which is in base64: `{hex};hmacsha256`.
pub(super) fn verify(secret: &str, shown: Shown<'_>) -> bool {
    let Some(end) = shown.password.iter().position(|byte| *byte == b';') else { return false };
    let method = str::from_utf8(&shown.password[end + 1..]).ok().and_then(Method::parse);
    let Some(method @ (Method::HmacSha1 | Method::HmacSha256)) = method else { return false };
    let Ok(key) = BASE64_STANDARD.decode(secret) else {
        tracing::warn!("the secret of a device is not in base64");
        return false;
    };
    !key.is_empty() && method.verify(&key, &[shown.user], &shown.password[..end])
}
