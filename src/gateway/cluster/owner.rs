//! Which gateway calls a device.

use sha2::{Digest, Sha256};

/// Of the members the one that a device belongs to: rendezvous hashing, so that a member that comes or
/// goes moves no device but its own.
///
/// Each is weighed by the first eight bytes of the SHA-256 of its id, a zero byte, and
/// `{product}/{device}`; the heaviest owns the device, and of equals the one with the greatest id. So all
/// gateways that know the same members agree, whatever version or machine they are.
pub(super) fn owner<'a, T>(
    members: impl IntoIterator<Item = (&'a str, T)>,
    product: &str,
    device: &str,
) -> Option<T> {
    let weighed = members.into_iter().map(|(id, it)| (weight(id, product, device), id, it));
    weighed.max_by_key(|(weight, id, _)| (*weight, *id)).map(|(.., it)| it)
}

fn weight(id: &str, product: &str, device: &str) -> u64 {
    let mut hash = Sha256::new();
    for part in [id, "\0", product, "/", device] {
        hash.update(part);
    }
    let hash = <[u8; 32]>::from(hash.finalize());
    hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const GATEWAYS: [&str; 4] = ["north", "south", "east", "west"];
    const DEVICES: usize = 4000;

    fn owners(members: &[&'static str]) -> Vec<&'static str> {
        let of = |n: usize| owner(members.iter().map(|id| (*id, *id)), "p", &format!("d{n}"));
        (0..DEVICES).map(|n| of(n).unwrap()).collect()
    }

    #[test]
    fn devices_are_spread_evenly() {
        let mut counts: HashMap<_, usize> = HashMap::new();
        for id in owners(&GATEWAYS) {
            *counts.entry(id).or_default() += 1;
        }
        let fair = DEVICES / GATEWAYS.len();
        assert!(counts.values().all(|count| count.abs_diff(fair) < fair / 5), "{counts:?}");
        assert_eq!(counts.len(), GATEWAYS.len());
    }

    #[test]
    fn who_goes_moves_no_device_but_its_own() {
        let (before, after) = (owners(&GATEWAYS), owners(&GATEWAYS[1..]));
        for (before, after) in before.into_iter().zip(after) {
            assert!(before == after || before == GATEWAYS[0], "{before} {after}");
        }
    }

    #[test]
    fn the_order_does_not_matter_and_nobody_owns_nothing() {
        let mut reversed = GATEWAYS;
        reversed.reverse();
        assert_eq!(owners(&GATEWAYS), owners(&reversed));
        assert_eq!(owner(std::iter::empty::<(&str, ())>(), "p", "d"), None);
    }

    /// All versions must agree, so this must never change.
    #[test]
    fn the_weight_is_what_it_was() {
        assert_eq!(weight("north", "p", "d"), WEIGHT);
    }

    const WEIGHT: u64 = 0x0c2d_fde8_454f_6ac0;
}
