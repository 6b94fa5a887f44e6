//! A signed request is taken once, while its time is near the gateway's.
//!
//! In a cluster each gateway tells the others of what it takes, and remembers what it hears, so that a request
//! that was recorded is refused by all who have heard.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// Most nonces of one owner that are remembered: 1,000 calls a second, Aliyun's own limit of an account,
/// for the 15 min that are the default. They take about 60 MB; and as much those that were heard of.
const CAPACITY: usize = 1_000_000;

/// Most that one request forgets of what has expired: after a pause it may be all, and others wait.
const STEP: usize = 64;

/// Times and nonces.
///
/// A nonce is remembered until its request's own time is too old to be taken: none is forgotten
/// before. When as many of an owner are remembered as may be, a new one of it is refused; others go on.
/// What is heard is counted apart, and has no room then: what is taken here never suffers from it.
pub(super) struct Replay {
    window: Duration,
    capacity: usize,
    hasher: RandomState,
    seen: Mutex<Seen>,
    tell: OnceLock<Tell>,
}

/// What hears of each nonce that is taken.
type Tell = Box<dyn Fn(&Used<'_>) + Send + Sync>;

/// A nonce that a gateway has taken, as others are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Used<'a> {
    /// Of the owner and the nonce, the same at all gateways.
    pub(super) digest: [u8; 32],
    /// When its request was signed.
    pub(super) signed: SystemTime,
    pub(super) owner: &'a str,
}

/// Who has taken a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Taker {
    Own,
    Other,
}

struct Seen {
    /// Hashes with a key that nobody knows. Two of one hash would refuse a good request, once in
    /// 10¹³.
    nonces: HashSet<u64>,
    /// When, which, and whose.
    by_expiry: BinaryHeap<Reverse<(SystemTime, u64, u64)>>,
    /// How many each owner has, by the hash of its name and of who has taken them. Owners are keys of the
    /// configuration.
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
        let (hasher, seen) = (RandomState::new(), Mutex::new(seen));
        Self { window, capacity, hasher, seen, tell: OnceLock::new() }
    }

    /// From now on each nonce that is taken is told, before its request goes on. It can be said once.
    pub(super) fn tell(&self, tell: impl Fn(&Used<'_>) + Send + Sync + 'static) {
        let _ = self.tell.set(Box::new(tell));
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
        let used = Used { digest: digest(owner, nonce), signed, owner };
        self.remember(&used, Taker::Own, now)?;
        if let Some(tell) = self.tell.get() {
            tell(&used);
        }
        Ok(())
    }

    /// Remembers what another gateway has taken, whose owner has a key here.
    pub(super) fn hear(&self, used: &Used<'_>, now: SystemTime) -> Result<(), Refused> {
        // Whatever it says, it is not remembered for longer than what is taken here.
        let latest = now.checked_add(self.window).ok_or(Refused::Expired)?;
        let used = Used { signed: used.signed.min(latest), ..used.clone() };
        self.remember(&used, Taker::Other, now)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.seen.lock().unwrap().by_expiry.len()
    }

    fn remember(&self, used: &Used<'_>, taker: Taker, now: SystemTime) -> Result<(), Refused> {
        self.check_time(used.signed, now)?;
        let expiry = used.signed.checked_add(self.window).ok_or(Refused::Expired)?;
        let nonce = self.hasher.hash_one(used.digest);
        let owner = self.hasher.hash_one((used.owner, taker));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget(now, STEP);
        // What is heard is lost sooner than the connection waits.
        if taker == Taker::Own && seen.count(owner) >= self.capacity {
            // Others' may have been first.
            seen.forget(now, usize::MAX);
        }
        seen.take(nonce, owner, expiry, self.capacity)
    }
}

fn digest(owner: &str, nonce: &str) -> [u8; 32] {
    // The length says where the owner ends.
    let length = (owner.len() as u64).to_be_bytes();
    Sha256::new().chain_update(length).chain_update(owner).chain_update(nonce).finalize().into()
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
mod tests;
