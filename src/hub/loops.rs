//! Devices that answer answers.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::core::topic::TopicFilter;
use crate::dialect::Dialect;

/// Messages on one topic: a request and its answer. Devices are known that answer three times, and a
/// requester may ask again.
const MESSAGES: u32 = 8;

/// How long they are counted, at least; twice that at most. No call on such topics takes longer.
const WINDOW: Duration = Duration::from_secs(10);

/// Topics that are counted in a window; with more, the window ends.
const TOPICS: usize = 16_384;

/// Counts messages on topics that a request shares with its answer. Two devices that hear each other
/// there, and answer all that they hear, would not stop.
#[derive(Debug)]
pub(super) struct Loops {
    /// What such topics begin with.
    spaces: Vec<Box<str>>,
    hasher: RandomState,
    /// The window that is open, and the one before it.
    counts: [HashMap<u64, u32>; 2],
    since: Option<Instant>,
}

impl Loops {
    pub(super) fn new<'d>(dialects: impl Iterator<Item = &'d dyn Dialect>) -> Self {
        let everything = TopicFilter::everything();
        let mut spaces: Vec<Box<str>> = dialects
            .filter(|dialect| dialect.answers_on_request_topic())
            .flat_map(|dialect| dialect.request_subscriptions(&everything))
            .filter_map(|subscription| space(subscription.filter.filter()))
            .collect();
        spaces.sort();
        spaces.dedup();
        let counts = [HashMap::new(), HashMap::new()];
        Self { spaces, hasher: RandomState::new(), counts, since: None }
    }

    /// Whether a message is one too many on its topic.
    pub(super) fn exceed(&mut self, topic: &str, now: impl Fn() -> Instant) -> bool {
        if !self.spaces.iter().any(|space| topic.starts_with(&**space)) {
            return false;
        }
        self.grow_older(now());
        let hash = self.hasher.hash_one(topic);
        let before = self.counts[1].get(&hash).copied().unwrap_or(0);
        let count = self.counts[0].entry(hash).or_insert(0);
        *count = count.saturating_add(1);
        count.saturating_add(before) > MESSAGES
    }

    fn grow_older(&mut self, now: Instant) {
        let past = now.saturating_duration_since(*self.since.get_or_insert(now));
        if past < WINDOW && self.counts[0].len() < TOPICS {
            return;
        }
        self.since = Some(now);
        self.counts.swap(0, 1);
        // What is longer ago than two windows is nobody's.
        if past >= WINDOW * 2 {
            self.counts[1].clear();
        }
        self.counts[0].clear();
    }
}

/// The part of a filter before its first wildcard; `None` when there is nothing that would tell such
/// topics from others.
fn space(filter: &str) -> Option<Box<str>> {
    let end = filter.find(['+', '#']).unwrap_or(filter.len());
    (end > 0).then(|| filter[..end].into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::rrpc::{aliyun, tencent};

    fn loops() -> Loops {
        let dialects: [Box<dyn Dialect>; 2] =
            [Box::new(aliyun::custom()), Box::new(tencent::rrpc())];
        Loops::new(dialects.iter().map(|dialect| &**dialect))
    }

    #[test]
    fn a_topic_has_so_many_messages_in_a_window() {
        let (mut loops, start) = (loops(), Instant::now());
        let mut exceed = |topic: &str, after: u32| loops.exceed(topic, || start + WINDOW * after);
        for _ in 0..MESSAGES {
            assert!(!exceed("/ext/rrpc/1/pk/dn/user/get", 0));
        }
        assert!(exceed("/ext/rrpc/1/pk/dn/user/get", 0));
        assert!(exceed("/ext/rrpc/1/pk/dn/user/get", 1), "the window before counts");
        assert!(!exceed("/ext/rrpc/2/pk/dn/user/get", 1));
        assert!(!exceed("/ext/rrpc/1/pk/dn/user/get", 4), "not for ever");
    }

    #[test]
    fn other_topics_are_not_counted() {
        let mut loops = loops();
        assert_eq!(loops.spaces, ["/ext/rrpc/".into()]);
        let now = || -> Instant { panic!("the clock is not read") };
        assert!((0..100).all(|_| !loops.exceed("$rrpc/rxd/pk/dn/1", now)));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut loops, now) = (loops(), Instant::now());
        for number in 0..10 * TOPICS {
            loops.exceed(&format!("/ext/rrpc/{number}/pk/dn/get"), || now);
        }
        assert!(loops.counts.iter().all(|window| window.len() <= TOPICS));
    }
}
