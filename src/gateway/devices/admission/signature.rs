//! HMAC in hexadecimal digits, with the hash that the client has chosen.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;

/// How a password was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    HmacMd5,
    HmacSha1,
    HmacSha256,
}

impl Method {
    /// As both vendors write it.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let methods = [
            ("hmacmd5", Self::HmacMd5),
            ("hmacsha1", Self::HmacSha1),
            ("hmacsha256", Self::HmacSha256),
        ];
        let method = methods.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        method.map(|(_, method)| method)
    }

    /// Whether `hex`, in upper or lower case, is the tag of these parts, one after the other. Takes the
    /// same time wherever it differs.
    pub(super) fn verify(self, key: &[u8], parts: &[&str], hex: &[u8]) -> bool {
        let Ok(tag) = hex::decode(hex) else { return false };
        match self {
            Self::HmacMd5 => verify::<Hmac<Md5>>(key, parts, &tag),
            Self::HmacSha1 => verify::<Hmac<Sha1>>(key, parts, &tag),
            Self::HmacSha256 => verify::<Hmac<Sha256>>(key, parts, &tag),
        }
    }
}

fn verify<M: Mac + KeyInit>(key: &[u8], parts: &[&str], tag: &[u8]) -> bool {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return false };
    for part in parts {
        mac.update(part.as_bytes());
    }
    mac.verify_slice(tag).is_ok()
}
