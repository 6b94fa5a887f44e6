//! Why a call has no answer, in the gateway's words.

use crate::core::packet::ReasonCode;
use crate::error::Delivery;
use crate::error::InvalidRequest;
use crate::error::RequestError;
use crate::error::ServeError;
use crate::gateway::call::{CallError, InFlight};
use crate::gateway::devices::Whereabouts;

/// What an error of a requester means. `in_flight` is the limit of the gateway. `whereabouts` is asked only
/// when it matters: `None` beside a broker, where nobody knows.
///
/// | error | where the device is | |
/// |---|---|---|
/// | `Offline` | just lost | [`HalfOpen`](CallError::HalfOpen) |
/// | `Offline` | elsewhere | [`Offline`](CallError::Offline) |
/// | `NoResponder` | connected | [`NotSubscribed`](CallError::NotSubscribed) |
/// | `NoResponder` | elsewhere | as `Offline` |
/// | `Overloaded` | | [`TooMany`](CallError::TooMany) of the gateway: its connection is behind, or it has no short id left |
/// | `Disconnected` | | [`Unavailable`](CallError::Unavailable) |
/// | `Disconnected` when it may have been delivered, `Closed` | | [`Lost`](CallError::Lost) |
pub(in crate::gateway) fn explain(
    error: RequestError,
    in_flight: usize,
    whereabouts: impl FnOnce() -> Option<Whereabouts>,
) -> CallError {
    match error {
        RequestError::Timeout => CallError::Timeout,
        RequestError::NotSubscribed => CallError::NotSubscribed,
        // The roster may be behind the hub, which has just looked.
        RequestError::Offline => match whereabouts() {
            Some(Whereabouts::JustLost) => CallError::HalfOpen,
            _ => CallError::Offline,
        },
        RequestError::NoResponder => match whereabouts() {
            Some(whereabouts) => absent(whereabouts).unwrap_or(CallError::NotSubscribed),
            None => CallError::Offline,
        },
        RequestError::Overloaded => CallError::TooMany(InFlight::Gateway(in_flight)),
        RequestError::Disconnected(Delivery::NotDelivered) => {
            CallError::Unavailable("the broker is away")
        }
        RequestError::Disconnected(_) => CallError::Lost("the broker went away"),
        RequestError::Closed => CallError::Lost("the connection to the broker was closed"),
        RequestError::InvalidRequest(InvalidRequest::TooLarge { .. })
        | RequestError::Rejected(ReasonCode::PACKET_TOO_LARGE) => CallError::TooLarge,
        RequestError::InvalidRequest(what) => CallError::Invalid(what.to_string().into()),
        other => CallError::Failed(other.to_string().into()),
    }
}

/// What is said of a device that is not connected.
pub(super) fn absent(whereabouts: Whereabouts) -> Option<CallError> {
    match whereabouts {
        Whereabouts::Connected { .. } => None,
        Whereabouts::JustLost => Some(CallError::HalfOpen),
        Whereabouts::Absent => Some(CallError::Offline),
    }
}

/// A requester that cannot be asked has sent nothing; `Closed` alone does not say so.
pub(in crate::gateway) fn unsent(error: RequestError) -> RequestError {
    match error {
        RequestError::Closed => RequestError::Disconnected(Delivery::NotDelivered),
        other => other,
    }
}

/// Why a requester that is made for one call could not be made.
pub(super) fn not_built(error: ServeError) -> CallError {
    match error {
        ServeError::Disconnected => CallError::Unavailable("the broker is away"),
        ServeError::Closed => CallError::Unavailable("the connection to the broker is closed"),
        other => CallError::Failed(other.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::message::Status;

    fn explained(error: RequestError, whereabouts: Option<Whereabouts>) -> CallError {
        explain(error, 3, || whereabouts)
    }

    #[test]
    fn where_a_device_is_decides_between_the_kinds_of_absence() {
        let connected = Whereabouts::Connected { since: SystemTime::UNIX_EPOCH, ext: false };
        for (error, whereabouts, expected) in [
            (RequestError::Offline, None, CallError::Offline),
            (RequestError::Offline, Some(Whereabouts::Absent), CallError::Offline),
            (RequestError::Offline, Some(Whereabouts::JustLost), CallError::HalfOpen),
            (RequestError::Offline, Some(connected), CallError::Offline),
            (RequestError::NoResponder, None, CallError::Offline),
            (RequestError::NoResponder, Some(Whereabouts::Absent), CallError::Offline),
            (RequestError::NoResponder, Some(Whereabouts::JustLost), CallError::HalfOpen),
            (RequestError::NoResponder, Some(connected), CallError::NotSubscribed),
            (RequestError::NotSubscribed, None, CallError::NotSubscribed),
        ] {
            assert_eq!(explained(error.clone(), whereabouts), expected, "{error} {whereabouts:?}");
        }
    }

    #[test]
    fn the_rest_does_not_ask_where_it_is() {
        let never = || -> Option<Whereabouts> { panic!("nobody wants to know") };
        let too_large = InvalidRequest::TooLarge { size: 2, limit: 1 };
        let away = CallError::Unavailable("the broker is away");
        for (error, expected) in [
            (RequestError::Timeout, CallError::Timeout),
            (RequestError::Overloaded, CallError::TooMany(InFlight::Gateway(3))),
            (RequestError::Disconnected(Delivery::NotDelivered), away),
            (
                RequestError::Disconnected(Delivery::Unknown),
                CallError::Lost("the broker went away"),
            ),
            (RequestError::Closed, CallError::Lost("the connection to the broker was closed")),
            (RequestError::from(too_large), CallError::TooLarge),
            (RequestError::Rejected(ReasonCode::PACKET_TOO_LARGE), CallError::TooLarge),
        ] {
            assert_eq!(explain(error, 3, never), expected);
        }
        for error in [
            RequestError::Rejected(ReasonCode::NOT_AUTHORIZED),
            RequestError::Refused(Status::new(1)),
        ] {
            assert!(matches!(explained(error, None), CallError::Failed(_)));
        }
        let timeout = Duration::ZERO;
        let invalid = InvalidRequest::Timeout { timeout, shortest: timeout, longest: timeout };
        assert!(matches!(explained(invalid.into(), None), CallError::Invalid(_)));
    }
}
