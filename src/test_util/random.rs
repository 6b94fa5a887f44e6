//! Chance that one seed decides, however the tasks are scheduled.

/// Chance for one packet: by the seed, the connection, the direction, and how many packets came
/// before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64, connection: u64, direction: usize, packet: u64) -> Self {
        let direction = u64::try_from(direction).unwrap_or_default();
        Self([connection, direction, packet].into_iter().fold(mix(seed), |state, part| {
            mix(state ^ part.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        }))
    }

    /// Other chance for the same packet.
    pub(super) fn salted(self, salt: u64) -> Self {
        Self(mix(self.0 ^ mix(salt)))
    }

    pub(super) fn one_in(self, n: u32) -> bool {
        n > 0 && self.0.is_multiple_of(u64::from(n))
    }

    /// From 0 to `most`, both included.
    pub(super) fn up_to(self, most: u64) -> u64 {
        most.checked_add(1).map_or(self.0, |count| self.0 % count)
    }
}

/// Each bit of the result depends on each bit of `state`: multiply, shift, and again.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let state = (state ^ (state >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (state ^ (state >> 32)).wrapping_add(0x632B_E59B_D9B4_E019)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_decides_and_every_part_counts() {
        let of = |seed, connection, direction, packet| {
            Random::new(seed, connection, direction, packet).0
        };
        assert_eq!(of(1, 2, 0, 3), of(1, 2, 0, 3));
        let all = [of(1, 2, 0, 3), of(2, 2, 0, 3), of(1, 3, 0, 3), of(1, 2, 1, 3), of(1, 2, 0, 4)];
        let different: std::collections::HashSet<_> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn one_in_n_is_about_that() {
        for n in [1, 2, 10] {
            let hits = (0..10_000).filter(|&p| Random::new(7, 1, 0, p).one_in(n)).count();
            let expected = 10_000 / n as usize;
            assert!(hits.abs_diff(expected) <= expected / 10, "{hits} of {expected}");
        }
        assert!(!Random::new(7, 1, 0, 0).one_in(0));
    }
}
