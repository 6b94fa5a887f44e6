//! What happened lately.

use std::hash::{BuildHasher, Hash, RandomState};
use std::mem;
use std::time::{Duration, Instant};

use super::ended::{End, Ended};

/// Remembers things for a time, by a keyed hash, in constant memory (32 KiB).
///
/// A thing is known for `age` at least and twice that at most; earlier only when about a thousand
/// others have come since. One that it has not seen is taken for a known one when the hashes are equal,
/// once in 2^64.
pub(crate) struct Recent {
    hasher: RandomState,
    age: Duration,
    /// The generation that is being filled, and the one before it.
    seen: [Ended; 2],
    /// When the present generation began.
    since: Option<Instant>,
}

impl Recent {
    pub(crate) fn new(age: Duration) -> Self {
        Self { hasher: RandomState::new(), age, seen: [Ended::new(), Ended::new()], since: None }
    }

    pub(crate) fn insert(&mut self, thing: impl Hash, now: Instant) {
        self.grow_older(now);
        self.seen[0].remember(self.hasher.hash_one(thing), End::Completed);
    }

    pub(crate) fn contains(&mut self, thing: impl Hash, now: Instant) -> bool {
        self.grow_older(now);
        let hash = self.hasher.hash_one(thing);
        self.seen.iter().any(|generation| generation.recall(hash).is_some())
    }

    fn grow_older(&mut self, now: Instant) {
        let past = now.saturating_duration_since(*self.since.get_or_insert(now));
        if past < self.age {
            return;
        }
        self.since = Some(now);
        let last = mem::replace(&mut self.seen[0], Ended::new());
        self.seen[1] = if past < self.age * 2 { last } else { Ended::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(8);

    #[test]
    fn what_was_inserted_lately_is_known() {
        let now = Instant::now();
        let mut recent = Recent::new(AGE);
        let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        for text in &texts {
            recent.insert(text, now);
        }
        assert!(texts.iter().all(|text| recent.contains(text, now)));
        assert!(!recent.contains("100", now));
    }

    #[test]
    fn a_text_is_known_for_its_age_and_not_for_ever() {
        let start = Instant::now();
        let mut recent = Recent::new(AGE);
        recent.insert("first", start);
        recent.insert("a", start + AGE / 2);
        assert!(recent.contains("a", start + AGE));
        assert!(recent.contains("a", start + AGE * 3 / 2));
        assert!(!recent.contains("a", start + AGE * 5 / 2));
        recent.insert("b", start + AGE * 3);
        assert!(!recent.contains("b", start + AGE * 10), "nobody has asked for a long time");
    }
}
