//! Tencent IoT Hub and IoT Explorer.

#[cfg(feature = "json")]
mod client_token;

use std::time::Duration;

#[cfg(feature = "json")]
pub use self::client_token::{ClientToken, client_token};
use super::super::IdFormat;
use super::super::template::{Lines, Template};
use crate::core::packet::Qos;

/// Five digits, always: a device that remembers the digits of a longer id answers on a wrong one. How
/// many the cloud uses is not documented; its samples fit into 16 bits.
const IDS: IdFormat =
    IdFormat::Short { first: 10_000, last: 65_535, quarantine: Duration::from_mins(1) };

/// As the vendor's RRPC guides have it.
const TIMEOUT: Duration = Duration::from_secs(4);

/// RRPC of IoT Hub: `{product}/{device}` is asked on `$rrpc/rxd/{product}/{device}/{id}` and answers on
/// `$rrpc/txd/{product}/{device}/{id}`, at QoS 0.
///
/// The payload is opaque here; the vendor's SDK for Python reads and writes JSON only. 4 s by default, as
/// the RRPC guide has it.
/// ([Source](https://www.tencentcloud.com/document/product/1105/41833))
///
/// # Panics
/// Never: the lines are right.
pub fn rrpc() -> Template {
    tencent(
        "tencent",
        Lines {
            address: "{product}/{device}",
            request: "$rrpc/rxd/{product}/{device}/{id}",
            response: "$rrpc/txd/{product}/{device}/{id}",
        },
    )
}

/// RRPC of IoT Explorer, the successor: as [`rrpc`], on `$iotrrpc/down/{product}/{device}/{id}` and
/// `$iotrrpc/up/{product}/{device}/{id}`.
/// ([Source](https://cloud.tencent.com/document/api/1081/134467))
///
/// # Panics
/// Never: the lines are right.
pub fn explorer() -> Template {
    tencent(
        "tencent-explorer",
        Lines {
            address: "{product}/{device}",
            request: "$iotrrpc/down/{product}/{device}/{id}",
            response: "$iotrrpc/up/{product}/{device}/{id}",
        },
    )
}

fn tencent(name: &'static str, lines: Lines<'_>) -> Template {
    Template::of(name, lines)
        .ids(IDS)
        .default_timeout(TIMEOUT)
        .answers_at(Qos::AtMostOnce)
        .client_names(|product, device| vec![format!("{product}{device}")])
}
