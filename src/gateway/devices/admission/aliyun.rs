//! Devices as Aliyun's SDKs make them.
//!
//! The client identifier is an id of any text and parameters, of which three matter here:
//! <code>{id}|signmethod=hmacsha1,timestamp=1700000000,ext=1|</code>. What is signed are the id, the device,
//! the product and the timestamp, if there is one: names and values one after the other, in the order of the
//! alphabet. No clock is compared with the timestamp; the SDK for C always sends the same.

use super::super::aliyun_id::AliyunId;
use super::super::who::Name;
use super::Shown;
use super::signature::Method;

/// Whether the password is a signature with this secret.
pub(super) fn verify(secret: &str, name: Name<'_>, shown: Shown<'_>) -> bool {
    let Some(client) = AliyunId::parse(shown.client_id) else { return false };
    let Some(method) = Method::parse(client.get("signmethod").unwrap_or("hmacmd5")) else {
        return false;
    };
    let content = ["clientId", client.id, "deviceName", name.device, "productKey", name.product];
    let timestamp = client.get("timestamp").map(|timestamp| ["timestamp", timestamp]);
    let content = [&content[..], timestamp.as_ref().map_or(&[], |both| &both[..])].concat();
    method.verify(secret.as_bytes(), &content, shown.password)
}
