//! What is asked for.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::Signed;
use super::params::Params;
use super::reply::{About, Refusal};
use crate::core::packet::{Qos, Text, UserProperties};
use crate::core::topic::{TopicName, is_unsafe};
use crate::gateway::call::{Call, Failure, Publication, Target};
use crate::gateway::http::vendor::Vendor;
use crate::gateway::level::is_level;
use crate::gateway::products::Products;
use crate::message::JSON;

/// Aliyun's limits of `RRpc`, in milliseconds.
const TIMEOUT: std::ops::RangeInclusive<u64> = 1000..=8000;

/// A service is waited for as long as Aliyun does, which cannot be told otherwise.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(8);

/// Aliyun's limit.
const USER_PROPERTIES: usize = 20;

/// The longest text or binary data of a property (MQTT 5 §1.5.4, §1.5.6).
const PROPERTY_MAX: usize = 65_535;

#[derive(Debug)]
pub(super) enum Ask {
    Rrpc(Call),
    Service(Call),
    Publish(Box<Publication>),
}

type Read = fn(&Params, Call, &Products) -> Result<Ask, Refusal>;
type Refuse = fn(&Failure) -> Refusal;

/// Reads a request whose signature is right.
pub(super) fn read(vendor: &Vendor, signed: &Signed, about: &mut About) -> Result<Ask, Refusal> {
    let (read, refuse): (Read, Refuse) = match &*signed.action {
        "RRpc" => (rrpc, Refusal::of_rrpc),
        "InvokeThingService" => (service, Refusal::of_service),
        "Pub" => (publish, Refusal::of_publish),
        _ => {
            let message = "Specified api is not found, please check your url and method.";
            let missing = axum::http::StatusCode::NOT_FOUND;
            return Err(Refusal::http(missing, "InvalidAction.NotFound", message));
        }
    };
    let params = &signed.params;
    if params.given("IotId").is_some() {
        let message = "IotId names nothing here: use ProductKey and DeviceName.";
        return Err(Refusal::of_value("iot.system.IllegalRequest", message));
    }
    let product = params.mandatory("ProductKey")?;
    let device = match &*signed.action {
        "Pub" => device_of(params, product)?,
        _ => params.mandatory("DeviceName")?,
    };
    let admitted = vendor.admit(&signed.key, product, device);
    if vendor.products.get(product).is_some() {
        about.product = Some(product.into());
    }
    admitted.map_err(|why| refuse(&why.into()))?;
    let call = Call {
        product: product.into(),
        device: device.into(),
        target: Target::Device,
        payload: Bytes::new(),
        content_type: None,
        timeout: None,
        key: Some(signed.key.id.clone()),
        api: "aliyun",
    };
    read(params, call, &vendor.products)
}

fn rrpc(params: &Params, call: Call, _: &Products) -> Result<Ask, Refusal> {
    let content = params.get("RequestBase64Byte");
    let payload = decode(content.ok_or_else(|| Refusal::missing("RequestBase64Byte"))?)?;
    let timeout = params.mandatory("Timeout")?.parse().ok().filter(|ms| TIMEOUT.contains(ms));
    let timeout = timeout.ok_or_else(|| {
        let message = format!("Timeout must be {} to {} ms.", TIMEOUT.start(), TIMEOUT.end());
        Refusal::of_value("iot.messagebroker.InvalidTimeoutValue", message)
    })?;
    let target = match params.given("Topic") {
        Some(topic) => Target::Topic(own_topic(topic, &call)?),
        None => Target::Device,
    };
    let timeout = Some(Duration::from_millis(timeout));
    Ok(Ask::Rrpc(Call { target, payload, timeout, ..call }))
}

fn service(params: &Params, call: Call, _: &Products) -> Result<Ask, Refusal> {
    let identifier = params.mandatory("Identifier")?;
    if !is_level(identifier) {
        return Err(illegal("Identifier names no service."));
    }
    let args = params.given("Args").unwrap_or("{}");
    if serde_json::from_str::<Map<String, Value>>(args).is_err() {
        return Err(illegal("Args must be a JSON object."));
    }
    Ok(Ask::Service(Call {
        target: Target::Service(identifier.into()),
        payload: Bytes::copy_from_slice(args.as_bytes()),
        content_type: Some(JSON.into()),
        timeout: Some(SERVICE_TIMEOUT),
        ..call
    }))
}

fn publish(params: &Params, call: Call, products: &Products) -> Result<Ask, Refusal> {
    let topic = own_topic(topic_full_name(params)?, &call)?;
    let content = params.given("MessageContent").ok_or_else(|| {
        Refusal::of_value("iot.messagebroker.NullMessageContent", "MessageContent is missing.")
    })?;
    let payload = decode(content)?;
    let qos = match params.given("Qos") {
        None | Some("0") => Qos::AtMostOnce,
        Some("1") => Qos::AtLeastOnce,
        Some(_) => return Err(illegal("Qos must be 0 or 1.")),
    };
    let utf8_payload = match params.given("PayloadFormatIndicator") {
        None | Some("0") => false,
        Some("1") if std::str::from_utf8(&payload).is_ok() => true,
        Some("1") => return Err(illegal("PayloadFormatIndicator is 1, and the payload no text.")),
        Some(_) => return Err(illegal("PayloadFormatIndicator must be 0 or 1.")),
    };
    if params.given("Retained").is_some_and(|it| !it.eq_ignore_ascii_case("false")) {
        return Err(illegal("Nothing is retained here."));
    }
    let expiry = params.given("MessageExpiryInterval").map(str::parse).transpose();
    let response_topic = params.given("ResponseTopic");
    let response_topic =
        response_topic.map(|topic| response_topic_of(topic, &call, products)).transpose()?;
    let correlation_data = params.given("CorrelationData").map(decode).transpose()?;
    if correlation_data.as_ref().is_some_and(|data| data.len() > PROPERTY_MAX) {
        return Err(illegal("CorrelationData is too long."));
    }
    Ok(Ask::Publish(Box::new(Publication {
        product: call.product,
        device: call.device,
        topic,
        payload,
        qos,
        response_topic,
        correlation_data,
        content_type: params.given("ContentType").map(text).transpose()?,
        utf8_payload,
        user_properties: user_properties(params)?,
        message_expiry: expiry.map_err(|_| illegal("MessageExpiryInterval must be seconds."))?,
        key: call.key,
    })))
}

fn illegal(message: &'static str) -> Refusal {
    Refusal::of_value("iot.system.IllegalRequest", message)
}

fn decode(base64: &str) -> Result<Bytes, Refusal> {
    STANDARD.decode(base64).map(Bytes::from).map_err(|_| {
        let message = "What must be in base64 is not.";
        Refusal::of_value("iot.messagebroker.MessageContentIsNotBase64Encode", message)
    })
}

fn topic_full_name(params: &Params) -> Result<&str, Refusal> {
    params.given("TopicFullName").ok_or_else(|| {
        Refusal::of_value("iot.messagebroker.NullTopicName", "TopicFullName is missing.")
    })
}

/// `Pub` names the device in its topic, and may name it apart as well.
fn device_of<'a>(params: &'a Params, product: &str) -> Result<&'a str, Refusal> {
    let rest = topic_full_name(params)?.strip_prefix('/').and_then(|it| it.strip_prefix(product));
    let device = rest.and_then(|it| it.strip_prefix('/')?.split('/').next());
    let named = params.given("DeviceName");
    device.filter(|device| named.is_none_or(|named| named == *device)).ok_or_else(bad_topic)
}

fn bad_topic() -> Refusal {
    let message = "The topic must be /{ProductKey}/{DeviceName}/… without wildcards.";
    Refusal::of_value("iot.messagebroker.InvalidFormattedTopicName", message)
}

/// A topic of the device that is called.
fn own_topic(topic: &str, call: &Call) -> Result<TopicName, Refusal> {
    let name = TopicName::new(topic).ok().filter(|_| is_below(topic, call, ""));
    name.ok_or_else(bad_topic)
}

/// Whether a topic is `/{product}/{device}/{folder}…`
fn is_below(topic: &str, Call { product, device, .. }: &Call, folder: &str) -> bool {
    let below = topic.strip_prefix(&*format!("/{product}/{device}/{folder}"));
    below.is_some_and(|rest| !rest.is_empty())
}

/// A user topic of the device; or one that is no device's and no gateway's: below none that the vendors'
/// devices, the native ones, the servers of the standard and the gateways of a cluster own.
fn response_topic_of(topic: &str, call: &Call, products: &Products) -> Result<TopicName, Refusal> {
    let first = topic.split('/').next().unwrap_or_default();
    let of_nobody = !matches!(first, "" | "devices" | "gateways")
        && !first.starts_with('$')
        && products.get(first).is_none();
    let allowed = is_below(topic, call, "user/") || of_nobody;
    TopicName::new(topic).ok().filter(|_| allowed).ok_or_else(|| {
        let message = "ResponseTopic must be /{ProductKey}/{DeviceName}/user/…, or no device's.";
        Refusal::of_value("iot.messagebroker.InvalidFormattedTopicName", message)
    })
}

/// `UserProp.1.Key`, `UserProp.1.Value`, …
fn user_properties(params: &Params) -> Result<UserProperties, Refusal> {
    let mut properties = UserProperties::new();
    for n in 1..=USER_PROPERTIES {
        let part = |part: &str| params.get(&format!("UserProp.{n}.{part}"));
        if let (Some(key), Some(value)) = (part("Key"), part("Value")) {
            properties.push(text(key)?, text(value)?);
        }
    }
    let named = params.names().filter(|name| name.starts_with("UserProp.")).count();
    if named != 2 * properties.len() {
        return Err(illegal("UserProp.N needs Key and Value, and N is 1 to 20."));
    }
    Ok(properties)
}

/// Text that fits into a property.
fn text(text: &str) -> Result<Text, Refusal> {
    if text.len() > PROPERTY_MAX || text.contains(is_unsafe) {
        return Err(illegal("A property is too long, or has control characters."));
    }
    Ok(text.to_owned().into())
}
