//! What happened lately.

use std::hash::{BuildHasher, RandomState};

use super::ended::{End, Ended};

/// Remembers about the last thousand texts, by a keyed hash, in constant memory (16 KiB).
///
/// A text that it has not seen is taken for a known one when the hashes are equal, once in 2^64; one
/// that it has seen may be forgotten before a thousand others are, as they share sets of eight.
pub(crate) struct Recent {
    hasher: RandomState,
    seen: Ended,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), seen: Ended::new() }
    }

    pub(crate) fn insert(&mut self, text: &str) {
        self.seen.remember(self.hasher.hash_one(text), End::Completed);
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.seen.recall(self.hasher.hash_one(text)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_lately_is_known() {
        let mut recent = Recent::new();
        let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        for text in &texts {
            recent.insert(text);
        }
        assert!(texts.iter().all(|text| recent.contains(text)));
        assert!(!recent.contains("100"));
    }
}
