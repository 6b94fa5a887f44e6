//! How servers and devices sign, written down once more: what the gateway checks with is not asked.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

pub(crate) fn hmac_sha1(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any key");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Aliyun's signature over the parameters of query and form.
pub(crate) fn aliyun(method: &str, parameters: &[(String, String)], secret: &str) -> String {
    let mut sorted: Vec<_> = parameters.iter().collect();
    sorted.sort();
    let pairs: Vec<_> =
        sorted.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
    let text = format!("{method}&%2F&{}", encode(&pairs.join("&")));
    BASE64_STANDARD.encode(hmac_sha1(format!("{secret}&").as_bytes(), &text))
}

/// Tencent's `Authorization`, for a request with these two headers.
pub(crate) fn tencent(
    (id, secret): (&str, &str),
    service: &str,
    (host, content_type): (&str, &str),
    (timestamp, date): (u64, &str),
    body: &[u8],
) -> String {
    let headers = format!("content-type:{content_type}\nhost:{host}\n");
    let canonical = format!("POST\n/\n\n{headers}\ncontent-type;host\n{}", sha256_hex(body));
    let scope = format!("{date}/{service}/tc3_request");
    let hashed = sha256_hex(canonical.as_bytes());
    let text = format!("TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{hashed}");
    let key = hmac_sha256(format!("TC3{secret}").as_bytes(), date);
    let key = hmac_sha256(&hmac_sha256(&key, service), "tc3_request");
    let signature = hex::encode(hmac_sha256(&key, &text));
    format!(
        "TC3-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=content-type;host, Signature={signature}"
    )
}

#[test]
fn the_recorded_requests_are_signed_as_their_sdks_did() {
    let parameters = [
        ("AccessKeyId", "testid"),
        ("Action", "RRpc"),
        ("DeviceName", "dev-ok"),
        ("Format", "JSON"),
        ("ProductKey", "a1testPK001"),
        ("RegionId", "cn-shanghai"),
        ("RequestBase64Byte", "aGVsbG8gd29ybGQ="),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", "437868076c7b9200ca9ff70d44b06f12"),
        ("SignatureType", ""),
        ("SignatureVersion", "1.0"),
        ("Timeout", "3000"),
        ("Timestamp", "2026-11-24T08:24:55Z"),
        ("Version", "2018-01-20"),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(aliyun("POST", &parameters, "testsecret"), "HinyU5Bncdx8iDO3kaf5EPiTJOA=");
}
