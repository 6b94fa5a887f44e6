//! How recent exchanges ended.

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Completed,
    Abandoned,
}

/// The ends of about the last thousand exchanges: a set-associative cache by the hash of the id, of
/// constant size.
///
/// In a full set an end displaces the oldest, and two ids with the same hash are taken for one: good
/// enough for counters, and for nothing else. (With one way a set, one in twenty of a hundred late
/// answers would be counted as unknown.)
pub(super) struct Ended(Box<[Set]>);

/// The latest end first.
type Set = [Option<(u64, End)>; WAYS];

const WAYS: usize = 8;

impl Ended {
    /// A power of two, so that a set is found with a mask.
    const SETS: usize = 128;

    pub(super) fn new() -> Self {
        Self(vec![[None; WAYS]; Self::SETS].into_boxed_slice())
    }

    pub(super) fn remember(&mut self, hash: u64, end: End) {
        let set = &mut self.0[Self::set(hash)];
        set.rotate_right(1);
        set[0] = Some((hash, end));
    }

    pub(super) fn recall(&self, hash: u64) -> Option<End> {
        let known = self.0[Self::set(hash)].iter().flatten();
        known.copied().find_map(|(known, end)| (known == hash).then_some(end))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps the low bits only")]
    fn set(hash: u64) -> usize {
        hash as usize & (Self::SETS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_ends_of_a_set_are_remembered() {
        let mut ended = Ended::new();
        let same_set = |n: u64| n * Ended::SETS as u64;
        for n in 0..=WAYS as u64 {
            ended.remember(same_set(n), End::Abandoned);
        }
        assert_eq!(ended.recall(same_set(0)), None, "displaced by the later ones");
        assert!((1..=WAYS as u64).all(|n| ended.recall(same_set(n)) == Some(End::Abandoned)));
        ended.remember(same_set(3), End::Completed);
        assert_eq!(ended.recall(same_set(3)), Some(End::Completed), "the latest counts");
        assert_eq!(ended.recall(1), None);
    }

    #[test]
    fn a_few_hundred_ends_are_all_remembered() {
        // Hashes as a keyed hasher makes them: spread by an odd constant.
        let hashes: Vec<u64> =
            (0..300_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 7).collect();
        let mut ended = Ended::new();
        for &hash in &hashes {
            ended.remember(hash, End::Abandoned);
        }
        assert!(hashes.iter().all(|&hash| ended.recall(hash) == Some(End::Abandoned)));
    }
}
