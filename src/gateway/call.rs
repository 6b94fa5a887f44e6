//! What the HTTP front asks for, and what it gets.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use thiserror::Error;
use tower::util::BoxCloneSyncService;

use crate::core::packet::{Qos, Text, UserProperties};
use crate::core::topic::TopicFilter;
use crate::core::topic::TopicName;
use crate::message::{Response, Status};

/// A call to a device, whatever the device and the caller speak.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) product: Box<str>,
    pub(crate) device: Box<str>,
    pub(crate) target: Target,
    pub(crate) payload: Bytes,
    pub(crate) content_type: Option<Text>,
    /// `None`: the product's.
    pub(crate) timeout: Option<Duration>,
    /// The id of the access key that asks; `None` for one that another gateway has counted.
    pub(crate) key: Option<Arc<str>>,
    /// What it came through: `plain`, `aliyun`, `tencent`, `native`, or another `gateway`.
    pub(crate) api: &'static str,
}

/// What of a device is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The device itself.
    Device,
    /// What listens on one of its own topics, as it is on the wire without any id
    /// (`/{product}/{device}/user/get`).
    Topic(TopicName),
    /// The same, when it answers on others of its topics: in the custom mode of IoT Explorer.
    Topics { request: TopicName, replies: TopicFilter },
    /// One of its services, with JSON parameters.
    Service(Box<str>),
}

/// What a device has answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// 200 where the dialect has no status.
    pub(crate) status: Status,
    pub(crate) payload: Bytes,
    pub(crate) content_type: Option<Text>,
    pub(crate) message_id: u64,
}

/// The user property of a response with the message id of the call.
pub(crate) const MESSAGE_ID: &str = "message-id";

impl Answer {
    /// What a response says.
    pub(crate) fn of(response: Response, message_id: u64) -> Self {
        let (status, payload, content_type, _) = response.into_wire();
        Self { status, payload, content_type, message_id }
    }

    /// The response that says it.
    pub(crate) fn into_response(self) -> Response {
        let response = with_message_id(Response::new(self.payload), Some(self.message_id));
        let response = response.with_status(self.status);
        match self.content_type {
            Some(content_type) => response.with_content_type(content_type),
            None => response,
        }
    }
}

/// Adds the message id, if there is one.
pub(crate) fn with_message_id(response: Response, message_id: Option<u64>) -> Response {
    match message_id {
        Some(id) => response.with_user_property(MESSAGE_ID, id.to_string()),
        None => response,
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CallError {
    #[error("there is no product {0}")]
    NoSuchProduct(Box<str>),
    #[error("there is no device {0}")]
    NoSuchDevice(Box<str>),
    #[error("this key may not call devices of {0}")]
    NotAllowed(Box<str>),
    #[error("the device is disabled")]
    Disabled,
    #[error("the device is not connected")]
    Offline,
    /// It was lost less than one keep-alive ago.
    #[error("the device has just lost its connection")]
    HalfOpen,
    #[error("the device is connected, and has not subscribed to its requests")]
    NotSubscribed,
    #[error("the device did not answer in time")]
    Timeout,
    #[error("{0} calls are in flight, which is as many as may be")]
    TooMany(InFlight),
    #[error("{0}")]
    Invalid(Box<str>),
    /// The device or its broker takes no payload of this size.
    #[error("the payload is too large")]
    TooLarge,
    /// The broker is away, or the gateway shuts down: the device was not asked.
    #[error("{0}")]
    Unavailable(&'static str),
    /// The broker or the owner of the device went away meanwhile, or the gateway has ended: the device may
    /// have done what it was asked.
    #[error("{0}")]
    Lost(&'static str),
    /// The broker, or a layer, refused.
    #[error("{0}")]
    Failed(Box<str>),
}

impl CallError {
    /// How a call failed, in one word; it stays the same.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoSuchProduct(_) => "no_such_product",
            Self::NoSuchDevice(_) => "no_such_device",
            Self::NotAllowed(_) => "not_allowed",
            Self::Disabled => "disabled",
            Self::Offline => "offline",
            Self::HalfOpen => "half_open",
            Self::NotSubscribed => "not_subscribed",
            Self::Timeout => "timeout",
            Self::TooMany(_) => "too_many",
            Self::Invalid(_) => "invalid",
            Self::TooLarge => "too_large",
            Self::Unavailable(_) => "unavailable",
            Self::Lost(_) => "lost",
            Self::Failed(_) => "failed",
        }
    }
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InFlight {
    Gateway(usize),
    Device(usize),
    Key(usize),
}

impl std::fmt::Display for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gateway(limit) => write!(f, "{limit} of the gateway's"),
            Self::Device(limit) => write!(f, "{limit} of the device's"),
            Self::Key(limit) => write!(f, "{limit} of the key's"),
        }
    }
}

/// A call that has failed; with the message id, if it got one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{why}")]
pub(crate) struct Failure {
    pub(crate) why: CallError,
    pub(crate) message_id: Option<u64>,
}

impl From<CallError> for Failure {
    fn from(why: CallError) -> Self {
        Self { why, message_id: None }
    }
}

/// Calls devices. Dropping its future gives the call up.
pub(crate) type Calls = BoxCloneSyncService<Call, Answer, Failure>;

/// A message that is published to a device's own topic without waiting for an answer.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) product: Box<str>,
    pub(crate) device: Box<str>,
    pub(crate) topic: TopicName,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) response_topic: Option<TopicName>,
    pub(crate) correlation_data: Option<Bytes>,
    pub(crate) content_type: Option<Text>,
    pub(crate) utf8_payload: bool,
    pub(crate) user_properties: UserProperties,
    pub(crate) message_expiry: Option<u32>,
    pub(crate) key: Option<Arc<str>>,
}

/// Publishes to devices; resolves to a message id.
pub(crate) type Publisher = BoxCloneSyncService<Publication, u64, Failure>;

/// A device, as far as the gateway knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceState {
    pub(crate) product: Box<str>,
    pub(crate) device: Box<str>,
    pub(crate) dialect: &'static str,
    /// `None`: a broker is between, and does not say.
    pub(crate) connected: Option<bool>,
    pub(crate) since: Option<SystemTime>,
    pub(crate) in_flight: usize,
}
