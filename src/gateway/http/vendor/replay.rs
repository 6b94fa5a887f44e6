//! A signed request is taken once, while its time is near the gateway's.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most nonces of one owner that are remembered: 1,000 calls a second, Aliyun's own limit of an account,
/// for the 15 min that are the default. They take about 60 MB.
const CAPACITY: usize = 1_000_000;

/// Most that one request forgets of what has expired: after a pause it may be all, and others wait.
const STEP: usize = 64;

/// Times and nonces.
///
/// A nonce is remembered until its request's own time is too old to be taken: none is forgotten
/// before. When as many of an owner are remembered as may be, a new one of it is refused; others go on.
pub(super) struct Replay {
    window: Duration,
    capacity: usize,
    hasher: RandomState,
    seen: Mutex<Seen>,
}

struct Seen {
    /// Hashes with a key that nobody knows. Two of one hash would refuse a good request, once in
    /// 10¹³.
    nonces: HashSet<u64>,
    /// When, which, and whose.
    by_expiry: BinaryHeap<Reverse<(SystemTime, u64, u64)>>,
    /// How many each owner has, by the hash of its name. Owners are keys of the configuration.
    counts: HashMap<u64, usize>,
    /// What expires by then may have been forgotten, so it stays expired when the clock is set
    /// back.
    forgotten: SystemTime,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its time is further from the gateway's than the window.
    Expired,
    /// The nonce was used before.
    Used,
    /// No more nonces of this owner can be remembered at the moment.
    Full,
}

impl Replay {
    pub(super) fn new(window: Duration) -> Self {
        Self::with_capacity(window, CAPACITY)
    }

    pub(super) fn with_capacity(window: Duration, capacity: usize) -> Self {
        let seen = Seen {
            nonces: HashSet::new(),
            by_expiry: BinaryHeap::new(),
            counts: HashMap::new(),
            forgotten: UNIX_EPOCH,
        };
        Self { window, capacity, hasher: RandomState::new(), seen: Mutex::new(seen) }
    }

    /// Whether a request that was signed then may be taken now.
    pub(super) fn check_time(&self, signed: SystemTime, now: SystemTime) -> Result<(), Refused> {
        self.check_time_within(Duration::MAX, signed, now)
    }

    /// Where the vendor takes requests within `window` at the most.
    pub(super) fn check_time_within(
        &self,
        window: Duration,
        signed: SystemTime,
        now: SystemTime,
    ) -> Result<(), Refused> {
        let apart = now.duration_since(signed).unwrap_or_else(|ahead| ahead.duration());
        if apart <= self.window.min(window) { Ok(()) } else { Err(Refused::Expired) }
    }

    /// Takes the nonce of a request whose signature is right, once for each `owner`.
    pub(super) fn take(
        &self,
        owner: &str,
        nonce: &str,
        signed: SystemTime,
        now: SystemTime,
    ) -> Result<(), Refused> {
        self.check_time(signed, now)?;
        let expiry = signed.checked_add(self.window).ok_or(Refused::Expired)?;
        let (nonce, owner) = (self.hasher.hash_one((owner, nonce)), self.hasher.hash_one(owner));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget(now, STEP);
        if seen.count(owner) >= self.capacity {
            // Others' may have been first.
            seen.forget(now, usize::MAX);
        }
        seen.take(nonce, owner, expiry, self.capacity)
    }
}

impl Seen {
    fn take(
        &mut self,
        nonce: u64,
        owner: u64,
        expiry: SystemTime,
        capacity: usize,
    ) -> Result<(), Refused> {
        if expiry <= self.forgotten {
            return Err(Refused::Expired);
        }
        if self.nonces.contains(&nonce) {
            return Err(Refused::Used);
        }
        let count = self.count(owner);
        if count >= capacity {
            return Err(Refused::Full);
        }
        self.counts.insert(owner, count + 1);
        self.nonces.insert(nonce);
        self.by_expiry.push(Reverse((expiry, nonce, owner)));
        Ok(())
    }

    fn count(&self, owner: u64) -> usize {
        self.counts.get(&owner).copied().unwrap_or_default()
    }

    /// Forgets what has expired, so many at the most. Each is forgotten once, so that a request pays for one
    /// on average.
    fn forget(&mut self, now: SystemTime, most: usize) {
        for _ in 0..most {
            let Some(&Reverse((expiry, nonce, owner))) = self.by_expiry.peek() else { return };
            if expiry >= now {
                return;
            }
            self.by_expiry.pop();
            self.nonces.remove(&nonce);
            self.forgotten = expiry;
            if let Entry::Occupied(mut count) = self.counts.entry(owner) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_mins(15);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_time_is_taken_up_to_the_edges_of_the_window() {
        let replay = Replay::new(WINDOW);
        let now = at(10_000);
        for (signed, taken) in [
            (now, true),
            (now - WINDOW, true),
            (now + WINDOW, true),
            (now - WINDOW - Duration::from_nanos(1), false),
            (now + WINDOW + Duration::from_nanos(1), false),
            (UNIX_EPOCH, false),
        ] {
            assert_eq!(replay.check_time(signed, now).is_ok(), taken, "{signed:?}");
            assert_eq!(replay.take("k", &format!("{signed:?}"), signed, now).is_ok(), taken);
        }
    }

    #[test]
    fn a_nonce_is_taken_once_for_each_owner_as_long_as_its_time_is_taken() {
        let replay = Replay::new(WINDOW);
        // Signed ahead: it can come again for twice the window.
        let signed = at(10_900);
        assert_eq!(replay.take("k", "n", signed, at(10_000)), Ok(()));
        assert_eq!(replay.take("other", "n", signed, at(10_000)), Ok(()));
        for now in [10_000, 10_900, 11_800] {
            assert_eq!(replay.take("k", "n", signed, at(now)), Err(Refused::Used));
        }
        assert_eq!(replay.take("k", "n", signed, at(11_801)), Err(Refused::Expired));
        assert_eq!(replay.take("k", "n", at(11_801), at(11_801)), Ok(()));
    }

    #[test]
    fn what_was_forgotten_stays_expired_when_the_clock_is_set_back() {
        let replay = Replay::new(WINDOW);
        assert_eq!(replay.take("k", "n", at(10_000), at(10_000)), Ok(()));
        assert_eq!(replay.take("k", "m", at(20_000), at(20_000)), Ok(()));
        assert_eq!(replay.take("k", "n", at(10_000), at(10_000)), Err(Refused::Expired));
        assert_eq!(replay.take("k", "n", at(10_001), at(10_001)), Ok(()));
    }

    #[test]
    fn when_full_a_new_nonce_is_refused_and_none_forgotten() {
        let replay = Replay::with_capacity(WINDOW, 2);
        assert_eq!(replay.take("k", "1", at(10_000), at(10_000)), Ok(()));
        assert_eq!(replay.take("k", "2", at(10_001), at(10_001)), Ok(()));
        assert_eq!(replay.take("k", "3", at(10_001), at(10_001)), Err(Refused::Full));
        assert_eq!(replay.take("k", "1", at(10_000), at(10_001)), Err(Refused::Used));
        assert_eq!(replay.take("other", "3", at(10_001), at(10_001)), Ok(()), "it has its own");
        // The first has expired.
        assert_eq!(replay.take("k", "3", at(10_901), at(10_901)), Ok(()));
        assert_eq!(replay.take("k", "2", at(10_001), at(10_901)), Err(Refused::Used));
    }

    #[test]
    fn after_a_pause_a_request_does_not_forget_everything() {
        let replay = Replay::with_capacity(WINDOW, 1000);
        let all = |owner: &str, at: SystemTime| {
            (0..1000).filter(|n| replay.take(owner, &format!("{n}"), at, at).is_ok()).count()
        };
        assert_eq!(all("first", at(10_000)), 1000);
        assert_eq!(all("second", at(10_001)), 1000);
        let remembered = || replay.seen.lock().unwrap().by_expiry.len();
        assert_eq!(replay.take("third", "n", at(20_000), at(20_000)), Ok(()));
        assert_eq!(remembered(), 2000 - STEP + 1);
        // Nobody is refused because of what has expired.
        assert_eq!(replay.take("second", "n", at(20_000), at(20_000)), Ok(()));
        assert_eq!(remembered(), 2);
    }

    proptest! {
        #[test]
        fn no_request_is_taken_twice(
            requests in prop::collection::vec((0..6_u8, 0..40_u64), 0..60),
            clock in prop::collection::vec(0..60_u64, 60),
        ) {
            let replay = Replay::with_capacity(Duration::from_secs(10), 4);
            let mut taken = HashSet::new();
            for (request, now) in requests.into_iter().zip(clock) {
                let (nonce, signed) = request;
                if replay.take("k", &nonce.to_string(), at(signed), at(now)).is_ok() {
                    prop_assert!(taken.insert(request));
                }
                prop_assert!(replay.seen.lock().unwrap().nonces.len() <= 4);
            }
        }
    }
}
