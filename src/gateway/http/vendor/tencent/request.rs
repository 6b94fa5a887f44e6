//! What is asked for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::reply::{About, Refusal};
use crate::core::topic::{TopicFilter, TopicName};
use crate::gateway::call::{Call, CallError, Target};
use crate::gateway::config::Dialect;
use crate::gateway::http::vendor::Vendor;
use crate::gateway::keys::Key;
use crate::message::JSON;

/// Bytes of a payload: what the vendor's platform carries to a device.
const LONGEST_PAYLOAD: usize = 16 * 1024;

#[derive(Debug)]
pub(super) enum Ask {
    /// `PublishRRPCMessage`.
    Publish(Call),
    /// `CallDeviceRRPCSync`, and the template of the topic that its answer comes on.
    Call(Call, Option<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    PublishRrpcMessage,
    CallDeviceRrpcSync,
}

pub(super) fn action(name: &str, version: &str, service: &str) -> Result<Action, Refusal> {
    let is_explorer = match (service, version) {
        ("iotcloud", "2021-04-08" | "2018-06-14") => false,
        ("iotexplorer", "2019-04-23") => true,
        ("iotcloud" | "iotexplorer", _) => {
            let message = format!("{service} has no version {version:?}.");
            return Err(Refusal::invalid("NoSuchVersion", message));
        }
        _ => {
            let message = "The service must be iotcloud or iotexplorer.";
            return Err(Refusal::unauthenticated("AuthFailure.InvalidAuthorization", message));
        }
    };
    match name {
        "PublishRRPCMessage" => Ok(Action::PublishRrpcMessage),
        "CallDeviceRRPCSync" if is_explorer => Ok(Action::CallDeviceRrpcSync),
        _ => {
            let message = format!("{service} {version} has no action {name:?}.");
            Err(Refusal::invalid("InvalidAction", message))
        }
    }
}

/// What is not named here is not read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    product_id: Option<String>,
    device_name: Option<String>,
    payload: Option<String>,
    encoding: Option<String>,
    topic: Option<String>,
    reply_topic: Option<String>,
}

/// Reads a request whose signature is right.
pub(super) fn read(
    vendor: &Vendor,
    key: &Key,
    action: Action,
    body: &[u8],
    about: &mut About,
) -> Result<Ask, Refusal> {
    let body: Body = serde_json::from_slice(body).map_err(|error| {
        Refusal::invalid("InvalidParameter", format!("The body cannot be read: {error}."))
    })?;
    let product = given(body.product_id, "ProductId")?;
    let device = given(body.device_name, "DeviceName")?;
    let admitted = vendor.admit(key, &product, &device);
    let known = vendor.products.get(&product);
    about.product = known.map(|known| known.id.as_str().into());
    admitted.map_err(|why| Refusal::of_call(&why))?;
    let payload = given(body.payload, "Payload")?;
    if payload.len() > LONGEST_PAYLOAD {
        return Err(Refusal::of_call(&CallError::TooLarge));
    }
    let call = Call {
        product: product.into(),
        device: device.into(),
        target: Target::Device,
        payload: Bytes::from(payload),
        content_type: None,
        timeout: None,
        key: Some(key.id.clone()),
        api: "tencent",
    };
    match action {
        Action::PublishRrpcMessage => Ok(Ask::Publish(call)),
        Action::CallDeviceRrpcSync => {
            let is_encoded = is_base64(body.encoding.as_deref())?;
            let dialect = known.map_or(Dialect::Native, |known| known.dialect);
            match body.topic.as_deref().filter(|topic| !topic.is_empty()) {
                Some(_) if is_encoded => {
                    let message = "With Topic the payload is JSON: Encoding must be empty.";
                    Err(Refusal::invalid("InvalidParameter", message))
                }
                Some(topic) => custom_mode(call, dialect, topic, body.reply_topic),
                None => {
                    let call = if is_encoded { encoded(call) } else { call };
                    default_mode(call, dialect, body.reply_topic)
                }
            }
        }
    }
}

fn given(value: Option<String>, name: &str) -> Result<String, Refusal> {
    value.ok_or_else(|| {
        let message = format!("The request is missing the parameter {name}.");
        Refusal::invalid("MissingParameter", message)
    })
}

fn default_mode(call: Call, dialect: Dialect, reply_topic: Option<String>) -> Result<Ask, Refusal> {
    if reply_topic.is_some_and(|topic| !topic.is_empty()) {
        return Err(Refusal::invalid("InvalidParameter", "ReplyTopic is of use with Topic only."));
    }
    let root = match dialect {
        Dialect::Tencent => Some("$rrpc/txd"),
        Dialect::TencentExplorer => Some("$iotrrpc/up"),
        Dialect::Aliyun | Dialect::Native => None,
    };
    let reply_topic = root.map(|root| format!("{root}/{}/{}/+", call.product, call.device));
    Ok(Ask::Call(call, reply_topic))
}

/// The payload is a JSON object, and a token that is written into it pairs it with its answer,
/// which comes on the topic of the request, or on those of `ReplyTopic`.
fn custom_mode(
    call: Call,
    dialect: Dialect,
    topic: &str,
    reply_topic: Option<String>,
) -> Result<Ask, Refusal> {
    let unsupported = |message| Err(Refusal::invalid("UnsupportedOperation", message));
    if dialect != Dialect::TencentExplorer {
        return unsupported("Only devices of IoT Explorer can be asked on a Topic.");
    }
    let own = format!("{}/{}/", call.product, call.device);
    let below = topic.strip_prefix(&own).is_some_and(|rest| !rest.is_empty());
    let topic = TopicName::new(topic).ok().filter(|_| below).ok_or_else(|| {
        let message = "Topic must be {ProductId}/{DeviceName}/…, without wildcards.";
        Refusal::invalid("InvalidParameterValue", message)
    })?;
    let given = reply_topic.as_deref().filter(|given| !given.is_empty());
    let target = match given.map(TopicFilter::new) {
        None => Target::Topic(topic),
        Some(Ok(replies)) if replies.matches(&topic) => Target::Topic(topic),
        Some(Ok(replies)) if replies.as_str().starts_with(&own) => {
            Target::Topics { request: topic, replies }
        }
        Some(_) => {
            let message = "ReplyTopic must match Topic, or be {ProductId}/{DeviceName}/….";
            return Err(Refusal::invalid("InvalidParameterValue", message));
        }
    };
    Ok(Ask::Call(Call { target, content_type: Some(JSON.into()), ..call }, reply_topic))
}

/// Whether the device is to get the payload in base64: the API's description says that the platform
/// encodes it on its way down.
fn is_base64(encoding: Option<&str>) -> Result<bool, Refusal> {
    match encoding {
        None | Some("") => Ok(false),
        Some("base64") => Ok(true),
        Some(_) => {
            Err(Refusal::invalid("InvalidParameterValue", "Encoding must be base64, or empty."))
        }
    }
}

fn encoded(call: Call) -> Call {
    Call { payload: STANDARD.encode(&call.payload).into(), ..call }
}
