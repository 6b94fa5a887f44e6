//! Aliyun IoT Platform: RRPC over system topics, over custom topics, and synchronous services.

#[cfg(feature = "json")]
mod alink;
#[cfg(feature = "json")]
mod thing_service;

use std::ops::RangeInclusive;
use std::time::Duration;

#[cfg(feature = "json")]
pub use self::thing_service::{ThingService, thing_service};
use super::super::IdFormat;
use super::super::template::{Lines, Template};
use crate::core::packet::Qos;

/// What the platform's own API allows as timeout.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(8);

/// A positive 64-bit number, as the platform's own.
const IDS: IdFormat = IdFormat::Decimal { bits: 63 };

/// RRPC over system topics: `{product}/{device}` is asked on
/// `/sys/{product}/{device}/rrpc/request/{id}` and answers on `…/rrpc/response/{id}`, at QoS 0.
///
/// The payload is opaque. 8 s by default; 1 to 8 s.
/// ([Source](https://help.aliyun.com/en/iot/user-guide/use-rrpc-specific-topics))
///
/// # Panics
/// Never: the lines are right.
pub fn system() -> Template {
    over_system_topics("aliyun-system")
}

fn over_system_topics(name: &'static str) -> Template {
    aliyun(
        name,
        Lines {
            address: "{product}/{device}",
            request: "/sys/{product}/{device}/rrpc/request/{id}",
            response: "/sys/{product}/{device}/rrpc/response/{id}",
        },
    )
}

/// RRPC over custom topics: `{product}/{device}/user/get` is asked on
/// `/ext/rrpc/{id}/{product}/{device}/user/get`, and answers on the same topic.
///
/// The payload is opaque. 8 s by default; 1 to 8 s. A second slash behind the id is read as well, and
/// the answer goes to exactly the topic of the request.
/// ([Source](https://help.aliyun.com/zh/iot/user-guide/use-custom-topics-1))
///
/// # Panics
/// Never: the lines are right.
pub fn custom() -> Template {
    let line = "/ext/rrpc/{id}/{product}/{device}/{topic*}";
    let lines = Lines { address: "{product}/{device}/{topic*}", request: line, response: line };
    aliyun("aliyun-custom", lines)
        .also_reads("/ext/rrpc/{id}//{product}/{device}/{topic*}")
        .expect("the line is right")
}

fn aliyun(name: &'static str, lines: Lines<'_>) -> Template {
    Template::of(name, lines)
        .ids(IDS)
        .default_timeout(*TIMEOUTS.end())
        .timeouts(TIMEOUTS)
        .answers_at(Qos::AtMostOnce)
        .client_names(client_names)
}

/// What the vendor's SDKs write between product and device, before the first `|` of the client identifier.
pub(crate) const SEPARATORS: [char; 2] = ['&', '.'];

/// The user name, and what stands before the first `|` of the client identifier in the vendor's SDKs.
fn client_names(product: &str, device: &str) -> Vec<String> {
    let ids = SEPARATORS.map(|separator| format!("{product}{separator}{device}"));
    [format!("{device}&{product}")].into_iter().chain(ids).collect()
}
