//! What ntex-mqtt does not look at in a packet that it reads.

use crate::core::wire::{Reader, Short, publish};

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;

/// Whether a packet of this version can be shown to ntex-mqtt, by its first byte and what follows Remaining
/// Length. What it refuses itself can.
///
/// It takes the difference between a PUBLISH and its header for the length of a payload, which wraps
/// around, or panics where overflow is checked.
pub(super) fn may_be_shown(first: u8, body: &[u8], version: Option<u8>) -> bool {
    let five = version == Some(5);
    match first >> 4 {
        PUBLISH => publish(first, body, five).is_ok(),
        CONNECT if five => connect_flags(body).ok().is_none_or(has_will_or_none),
        SUBSCRIBE if five => !has_reserved_options(body).unwrap_or_default(),
        _ => true,
    }
}

/// The flags in a CONNECT, behind the version (MQTT 5 §3.1.2.3).
fn connect_flags(connect: &[u8]) -> Result<u8, Short> {
    let mut rest = Reader(connect);
    rest.data()?;
    let _version = rest.byte()?;
    rest.byte()
}

/// Without a will there is neither its QoS nor its retain flag [MQTT-3.1.2-11], [MQTT-3.1.2-13].
fn has_will_or_none(flags: u8) -> bool {
    let (will, qos_and_retain) = (0b100, 0b11_1000);
    flags & will != 0 || flags & qos_and_retain == 0
}

/// Whether a SUBSCRIBE has bits in its options that mean nothing [MQTT-3.8.3-5].
fn has_reserved_options(subscribe: &[u8]) -> Result<bool, Short> {
    let mut rest = Reader(subscribe);
    let _packet_id = rest.number()?;
    rest.properties()?;
    while !rest.0.is_empty() {
        let _filter = rest.data()?;
        if rest.byte()? & 0b1100_0000 != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Option<u8> = Some(5);

    #[test]
    fn a_will_that_is_not_there_has_no_flags() {
        let connect = |version, flags| [&b"\0\x04MQTT"[..], &[version, flags, 0, 0, 0, 0]].concat();
        for (flags, expected) in
            [(0b10, true), (0b110, true), (0b10_1110, true), (0b1010, false), (0b10_0010, false)]
        {
            assert_eq!(may_be_shown(0x10, &connect(5, flags), FIVE), expected, "{flags:b}");
            assert!(may_be_shown(0x10, &connect(4, flags), Some(4)));
        }
    }

    #[test]
    fn options_that_mean_nothing_are_seen_in_every_subscription() {
        let subscribe = |options: [u8; 2]| {
            let [first, second] = options;
            [0, 1, 0, 0, 1, b't', first, 0, 0, second]
        };
        for (options, expected) in
            [([1, 0x2D], true), ([0x40, 0], false), ([0, 0x80], false), ([0xFF, 1], false)]
        {
            assert_eq!(may_be_shown(0x82, &subscribe(options), FIVE), expected, "{options:x?}");
            assert!(may_be_shown(0x82, &subscribe(options), Some(4)));
        }
    }

    #[test]
    fn what_is_cut_short_is_left_to_who_reads_it() {
        let packet = [0, 1, 0, 0, 1, b't'];
        for end in 0..=packet.len() {
            assert!(may_be_shown(0x82, &packet[..end], FIVE));
            assert!(may_be_shown(0x10, &packet[..end], FIVE));
        }
    }
}
