//! What a PUBACK says.

use std::fmt;

use crate::core::packet::ReasonCode;
use crate::error::RequestError;

/// What the server says of a message that it was sent at QoS 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) reason: ReasonCode,
    /// Why nobody has the message, when the server knows the device that it is for.
    pub(crate) absence: Option<Absence>,
}

#[cfg(feature = "ntex")]
impl Acknowledgement {
    /// Nobody has the message.
    pub(crate) fn absent(absence: Option<Absence>) -> Self {
        Self { reason: ReasonCode::NO_MATCHING_SUBSCRIBERS, absence }
    }
}

/// Whether the server refused a message, or says that nobody is there to take it.
pub(crate) fn is_refusal(Acknowledgement { reason, .. }: Acknowledgement) -> bool {
    reason.is_error() || reason == ReasonCode::NO_MATCHING_SUBSCRIBERS
}

impl From<ReasonCode> for Acknowledgement {
    fn from(reason: ReasonCode) -> Self {
        Self { reason, absence: None }
    }
}

/// What a [refusal](is_refusal) means to who has sent the message.
impl From<Acknowledgement> for RequestError {
    fn from(Acknowledgement { reason, absence }: Acknowledgement) -> Self {
        match (reason, absence) {
            (_, Some(Absence::Offline)) => Self::Offline,
            (_, Some(Absence::NotSubscribed)) => Self::NotSubscribed,
            (ReasonCode::NO_MATCHING_SUBSCRIBERS, None) => Self::NoResponder,
            (reason, None) => Self::Rejected(reason),
        }
    }
}

impl fmt::Display for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

/// Why a device does not get what is for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "ntex"), expect(dead_code, reason = "the memory link knows no devices"))]
pub(crate) enum Absence {
    Offline,
    NotSubscribed,
}

#[cfg(feature = "ntex")]
impl Absence {
    /// The user property of a PUBACK with reason code 0x10 that says it.
    pub(crate) const PROPERTY: &str = "device";

    /// The property's value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::NotSubscribed => "not-subscribed",
        }
    }

    /// What the property's value means.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        [Self::Offline, Self::NotSubscribed].into_iter().find(|absence| absence.as_str() == value)
    }
}
