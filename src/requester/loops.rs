//! Answers to one request that do not stop coming.

use std::hash::{BuildHasher, RandomState};

/// How many answers too many to one request are a loop. Vendors' devices send up to three answers to
/// one request without being in a loop.
const LOOP: u32 = 8;
/// How many requests are watched at once.
const WATCHED: usize = 16;

/// Notices a device that answers its own answers.
///
/// Where request and answer share a topic, and the device cannot say No Local (MQTT 3.1.1), it hears
/// its own answer as a request and answers that, without end.
#[derive(Debug, Default)]
pub(super) struct Loops {
    hasher: RandomState,
    /// Keyed hashes, with how many answers nobody waited for: the last one seen at the end.
    seen: Vec<(u64, u32)>,
}

impl Loops {
    /// One more answer with this key that nobody waits for. `true` for the one that makes it a loop.
    pub(super) fn notice(&mut self, key: &[u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        let known = self.seen.iter().position(|(other, _)| *other == hash);
        let (_, count) = known.map_or((hash, 0), |at| self.seen.remove(at));
        if self.seen.len() == WATCHED {
            // The first of those with the fewest, so that many loops at once are noticed as well.
            let fewest = self.seen.iter().enumerate().min_by_key(|(_, (_, count))| *count);
            self.seen.remove(fewest.map_or(0, |(at, _)| at));
        }
        let count = count.saturating_add(1);
        self.seen.push((hash, count));
        count == LOOP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_noticed_once() {
        let mut loops = Loops::default();
        assert_eq!((0..1000).filter(|_| loops.notice(b"id")).count(), 1);
    }

    #[test]
    fn three_answers_to_one_request_are_no_loop() {
        let mut loops = Loops::default();
        let requests = (0..10_000_u32).flat_map(|n| [n; 3]);
        assert!(requests.map(u32::to_be_bytes).all(|key| !loops.notice(&key)));
        assert!(loops.seen.len() <= WATCHED);
    }

    #[test]
    fn loops_are_noticed_between_many_others() {
        let mut loops = Loops::default();
        let keys = (0..1000_u32).flat_map(|n| [n.to_be_bytes(), *b"loop"]);
        assert_eq!(keys.filter(|key| loops.notice(key)).count(), 1);
        let mut loops = Loops::default();
        let ten_at_once = (0..100_u32).map(|n| (n % 10).to_be_bytes());
        assert_eq!(ten_at_once.filter(|key| loops.notice(key)).count(), 10);
    }
}
