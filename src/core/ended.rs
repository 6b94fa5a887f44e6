//! How recent exchanges ended.

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Completed,
    Abandoned,
}

/// The ends of recent exchanges: a direct-mapped cache by the hash of the id, of constant size.
///
/// An end displaces an older one in the same slot, and two ids with the same hash are taken for one:
/// good enough for counters, and for nothing else.
pub(super) struct Ended(Box<[Option<(u64, End)>]>);

impl Ended {
    /// A power of two, so that a slot is found with a mask.
    const SLOTS: usize = 1024;

    pub(super) fn new() -> Self {
        Self(vec![None; Self::SLOTS].into_boxed_slice())
    }

    pub(super) fn remember(&mut self, hash: u64, end: End) {
        self.0[Self::slot(hash)] = Some((hash, end));
    }

    pub(super) fn recall(&self, hash: u64) -> Option<End> {
        self.0[Self::slot(hash)].filter(|(known, _)| *known == hash).map(|(_, end)| end)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps the low bits only")]
    pub(super) fn slot(hash: u64) -> usize {
        hash as usize & (Self::SLOTS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_latest_end_in_a_slot() {
        let mut ended = Ended::new();
        ended.remember(1, End::Abandoned);
        ended.remember(2, End::Completed);
        assert_eq!(ended.recall(1), Some(End::Abandoned));
        assert_eq!(ended.recall(1025), None);
        ended.remember(1025, End::Completed);
        assert_eq!(ended.recall(1), None, "displaced by the later one");
        assert_eq!(ended.recall(2), Some(End::Completed));
    }
}
