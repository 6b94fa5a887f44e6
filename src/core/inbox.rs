//! The responder's memory of requests, so that a retry does not execute again.
//!
//! **Not covered by semantic versioning**: it is public for benchmarks and tests, and may change in any
//! release. [`InboxLimits`] is the exception.
//!
//! A retry keeps its response topic and correlation data, and MQTT at `QoS` 1 may deliver a request
//! twice. [`Inbox`] remembers the requests that are being executed and the answers of those that
//! were. It reads no clock and does no I/O; whoever owns it drives it:
//!
//! 1. When a request arrives, call [`admit`](Inbox::admit) and do what the [`Admission`] says.
//! 2. After [`Admission::Execute`], call [`finish`](Inbox::finish) with the answer, or
//!    [`abandon`](Inbox::abandon) if there will be none, exactly once; a guard that abandons when
//!    dropped covers panics. Both yield the waiters: give the answer to each.
//! 3. Now and then, call [`expire`](Inbox::expire), so that an idle inbox gives its memory back.
//!
//! ```
//! use std::time::Instant;
//! use tower_mqtt::core::inbox::{Admission, Inbox, InboxKey, InboxLimits};
//!
//! let now = Instant::now();
//! let mut inbox = Inbox::new(InboxLimits::default());
//! let key = InboxKey::new("machines/M7/responses", b"id-1");
//!
//! assert_eq!(inbox.admit(key, 7, now, "first"), Admission::Execute);
//! assert_eq!(inbox.admit(key, 7, now, "retry"), Admission::Joined);
//! let waiters = inbox.finish(&key, "miso soup", 9, now);
//! assert_eq!(waiters.collect::<Vec<_>>(), ["first", "retry"]);
//!
//! let again = inbox.admit(key, 7, now, "late retry");
//! assert_eq!(again, Admission::Answered { waiter: "late retry", answer: "miso soup" });
//! assert_eq!(inbox.admit(key, 8, now, "other"), Admission::Mismatch("other"));
//! ```

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::answers::{Answers, Remembered};
use super::high_water::HighWater;
use super::prehashed::BuildPrehashed;
use super::waiters::Waiters;

/// What identifies a request: its response topic and its correlation data.
///
/// It is a digest of 128 bits, so that what is remembered of a request is small and of one size. The
/// digest is made with a secret of this process, so that no peer can choose two requests with one
/// key; that any two of a billion requests have the same by chance is less likely than one in 2^68.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InboxKey([u64; 2]);

/// What a key adds to the bytes counted.
const KEY_BYTES: usize = size_of::<InboxKey>();

static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl InboxKey {
    /// Makes the key of the request with this response topic and correlation data.
    ///
    /// The topic's length is part of the key, so no two requests are confused by where the one part
    /// ends and the other begins.
    pub fn new(response_topic: &str, correlation: &[u8]) -> Self {
        let mut hasher = SECRET.build_hasher();
        hasher.write_usize(response_topic.len());
        hasher.write(response_topic.as_bytes());
        hasher.write(correlation);
        let first = hasher.finish();
        hasher.write_u8(u8::MAX);
        Self([first, hasher.finish()])
    }
}

impl Hash for InboxKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0[0]);
    }
}

impl fmt::Debug for InboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InboxKey(..)")
    }
}

/// How much an [`Inbox`] remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxLimits {
    /// Requests, in progress and answered together. Default 65,536: what a responder at 200 requests
    /// per second answers in `age`.
    pub entries: usize,
    /// Bytes of all keys (16 each) and remembered answers together. Default 16 MiB: 256 bytes for
    /// each of the default entries, small beside the rest of a server process. An answer that does
    /// not fit is not remembered, so choose this well above the largest answer.
    pub bytes: usize,
    /// How long an answer is remembered after it was given. Default 5 minutes: many times the usual
    /// timeout of a call, retries included, so that no caller is still trying.
    pub age: Duration,
    /// Waiters that may join one request in progress, behind its first. Default 16: more copies of
    /// one request at once are a fault or an attack.
    pub joined: usize,
}

impl Default for InboxLimits {
    fn default() -> Self {
        Self { entries: 65_536, bytes: 16 << 20, age: Duration::from_mins(5), joined: 16 }
    }
}

/// What to do with a request that has arrived.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the request must be executed, answered or refused"]
pub enum Admission<W, A> {
    /// The request is new and now in progress; the inbox holds the waiter. Execute it, then call
    /// [`Inbox::finish`] or [`Inbox::abandon`].
    Execute,
    /// The same request is in progress; the inbox holds the waiter until it ends. Do nothing.
    Joined,
    /// The same request was answered; give this waiter the same answer.
    Answered {
        /// The waiter passed to [`Inbox::admit`].
        waiter: W,
        /// The answer passed to [`Inbox::finish`].
        answer: A,
    },
    /// Another request has used this key, which is the requester's mistake; refuse this one.
    Mismatch(W),
    /// There is no room: requests in progress fill the inbox, or too many waiters have joined this
    /// one. Refuse the request; it may be tried again later.
    Full(W),
}

/// Requests in progress and answered, for executing each at most once while it is remembered.
///
/// `W` is what the caller needs to answer one copy of a request, `A` is an answer that can be
/// repeated; choose an `A` that is cheap to clone.
///
/// # Bounds and memory
///
/// [`InboxLimits`] bounds entries, bytes and age. To make room, the oldest answers are forgotten
/// first. A request in progress is never forgotten: when these alone fill the inbox, a new request
/// is refused. Beside the bytes counted, a request in progress takes 100 to 200 bytes plus one to two
/// times the size of `W`, and an answered one 80 to 200 plus one to two times the size of `A`; what a
/// waiter holds on the heap is not counted. After a burst, the tables give their memory back when
/// fewer than a quarter of the entries are left.
///
/// # Cost
///
/// Each call is O(1), amortised: nothing is scanned, and a key is hashed once, when it is made.
/// Answers lie in the order of their age, so an inbox that forgets one for each that it remembers
/// goes through memory from one end to the other.
pub struct Inbox<W, A> {
    limits: InboxLimits,
    // Invariant: no key is in both tables.
    in_progress: HashMap<InboxKey, InProgress<W>, BuildPrehashed>,
    answered: Answers<A>,
    high_water: HighWater,
}

struct InProgress<W> {
    fingerprint: u64,
    first: W,
    joined: Vec<W>,
}

impl<W, A> Inbox<W, A> {
    /// Makes an empty inbox. Nothing is allocated in advance.
    pub fn new(limits: InboxLimits) -> Self {
        Self {
            limits,
            in_progress: HashMap::default(),
            answered: Answers::new(),
            high_water: HighWater::default(),
        }
    }

    /// Decides what to do with a request; call it when one arrives.
    ///
    /// `fingerprint` is a hash of what makes requests with one key the same: topic and payload, but
    /// not credentials, which each attempt may carry anew. Use a keyed hash: whoever can make two
    /// payloads with one fingerprint gets the answer of the first for the second.
    pub fn admit(
        &mut self,
        key: InboxKey,
        fingerprint: u64,
        now: Instant,
        waiter: W,
    ) -> Admission<W, A>
    where
        A: Clone,
    {
        self.expire(now);
        if let Some(running) = self.in_progress.get_mut(&key) {
            if running.fingerprint != fingerprint {
                return Admission::Mismatch(waiter);
            }
            if running.joined.len() >= self.limits.joined {
                return Admission::Full(waiter);
            }
            running.joined.push(waiter);
            return Admission::Joined;
        }
        match self.answered.get(&key) {
            None => self.admit_new(key, fingerprint, waiter),
            Some(known) if known.fingerprint != fingerprint => Admission::Mismatch(waiter),
            Some(known) => Admission::Answered { waiter, answer: known.answer.clone() },
        }
    }

    fn admit_new(&mut self, key: InboxKey, fingerprint: u64, waiter: W) -> Admission<W, A> {
        let InboxLimits { entries, bytes, .. } = self.limits;
        // Forget answers only if that makes room.
        if self.in_progress() >= entries || self.bytes_in_progress() + KEY_BYTES > bytes {
            return Admission::Full(waiter);
        }
        while (self.len() >= entries || self.bytes() + KEY_BYTES > bytes)
            && self.answered.forget_oldest()
        {}
        let running = InProgress { fingerprint, first: waiter, joined: Vec::new() };
        self.in_progress.insert(key, running);
        self.high_water.raise(self.in_progress.len());
        Admission::Execute
    }

    /// Ends a request in progress and remembers its answer; call it when the handler has answered.
    ///
    /// `size_bytes` is the size of the answer for [`InboxLimits::bytes`]. Yields the waiters that the
    /// answer is for: the first and those that joined. An answer that does not fit beside the
    /// requests in progress is not remembered, and a retry of its request executes again.
    ///
    /// Yields nobody, and drops the answer, when no request with this key is in progress.
    pub fn finish(
        &mut self,
        key: &InboxKey,
        answer: A,
        size_bytes: usize,
        now: Instant,
    ) -> Waiters<W> {
        self.expire(now);
        let Some(InProgress { fingerprint, first, joined }) = self.end(key) else {
            return Waiters::none();
        };
        let bytes = KEY_BYTES.saturating_add(size_bytes);
        if self.bytes_in_progress().saturating_add(bytes) <= self.limits.bytes {
            while self.bytes() > self.limits.bytes - bytes && self.answered.forget_oldest() {}
            self.answered.push(Remembered { key: *key, fingerprint, since: now, bytes, answer });
        }
        Waiters::new(first, joined)
    }

    /// Ends a request in progress without an answer; call it when the handler was dropped or
    /// panicked.
    ///
    /// The request is forgotten, so that a retry executes. Yields the waiters, as
    /// [`finish`](Self::finish) does; nobody when no request with this key is in progress.
    pub fn abandon(&mut self, key: &InboxKey) -> Waiters<W> {
        let ended = self.end(key);
        ended.map_or_else(Waiters::none, |ended| Waiters::new(ended.first, ended.joined))
    }

    /// Forgets the answers that are as old as [`InboxLimits::age`].
    ///
    /// [`admit`](Self::admit) and [`finish`](Self::finish) do this too; call it now and then when
    /// there may be no requests.
    pub fn expire(&mut self, now: Instant) {
        while let Some(since) = self.answered.oldest()
            && now.saturating_duration_since(since) >= self.limits.age
            && self.answered.forget_oldest()
        {}
    }

    /// How many requests are remembered, in progress and answered.
    pub fn len(&self) -> usize {
        self.in_progress.len() + self.answered.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many requests are in progress.
    pub fn in_progress(&self) -> usize {
        self.in_progress.len()
    }

    /// Whether a request with this key is in progress, so that another copy would have to wait.
    pub fn is_in_progress(&self, key: &InboxKey) -> bool {
        self.in_progress.contains_key(key)
    }

    /// The bytes of all keys and remembered answers, as [`InboxLimits::bytes`] counts them.
    pub fn bytes(&self) -> usize {
        self.bytes_in_progress() + self.answered.bytes()
    }

    fn bytes_in_progress(&self) -> usize {
        self.in_progress.len() * KEY_BYTES
    }

    fn end(&mut self, key: &InboxKey) -> Option<InProgress<W>> {
        let ended = self.in_progress.remove(key)?;
        if let Some(capacity) = self.high_water.lower(self.in_progress.len()) {
            self.in_progress.shrink_to(capacity);
        }
        Some(ended)
    }
}

impl<W, A> fmt::Debug for Inbox<W, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("len", &self.len())
            .field("in_progress", &self.in_progress())
            .field("bytes", &self.bytes())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Admission::{Answered, Execute, Full, Joined, Mismatch};
    use super::*;

    const AGE: Duration = Duration::from_millis(100);

    fn inbox(entries: usize, bytes: usize) -> Inbox<u32, &'static str> {
        Inbox::new(InboxLimits { entries, bytes, age: AGE, joined: 2 })
    }

    fn key(number: u64) -> InboxKey {
        InboxKey::new("r", &number.to_be_bytes())
    }

    #[test]
    fn a_retry_gets_the_same_answer_without_executing() {
        let now = Instant::now();
        let mut inbox = inbox(8, 1000);
        assert_eq!(inbox.admit(key(1), 0, now, 10), Execute);
        assert_eq!(inbox.admit(key(1), 0, now, 11), Joined);
        assert_eq!(inbox.admit(key(2), 0, now, 20), Execute);
        assert_eq!(inbox.in_progress(), 2);
        assert!(inbox.is_in_progress(&key(1)));
        assert_eq!(inbox.finish(&key(1), "soup", 4, now).collect::<Vec<_>>(), [10, 11]);
        assert!(!inbox.is_in_progress(&key(1)));
        let answered = Answered { waiter: 12, answer: "soup" };
        assert_eq!(inbox.admit(key(1), 0, now, 12), answered);
        assert_eq!((inbox.len(), inbox.in_progress()), (2, 1));
        assert_eq!(inbox.bytes(), 2 * KEY_BYTES + 4);
    }

    #[test]
    fn another_request_with_the_same_key_is_refused() {
        let now = Instant::now();
        let mut inbox = inbox(8, 1000);
        assert_eq!(inbox.admit(key(1), 7, now, 10), Execute);
        assert_eq!(inbox.admit(key(1), 8, now, 11), Mismatch(11));
        assert_eq!(inbox.finish(&key(1), "soup", 4, now).collect::<Vec<_>>(), [10]);
        assert_eq!(inbox.admit(key(1), 8, now, 11), Mismatch(11));
    }

    #[test]
    fn the_parts_of_a_key_cannot_be_confused() {
        assert_eq!(InboxKey::new("ab", b"c"), InboxKey::new("ab", b"c"));
        assert_ne!(InboxKey::new("ab", b"c"), InboxKey::new("a", b"bc"));
        assert_ne!(InboxKey::new("", b"abc"), InboxKey::new("abc", b""));
    }

    #[test]
    fn an_abandoned_request_executes_again() {
        let now = Instant::now();
        let mut inbox = inbox(8, 1000);
        assert_eq!(inbox.admit(key(1), 0, now, 10), Execute);
        assert_eq!(inbox.abandon(&key(1)).collect::<Vec<_>>(), [10]);
        assert_eq!((inbox.len(), inbox.bytes()), (0, 0));
        assert_eq!(inbox.admit(key(1), 0, now, 11), Execute);
    }

    #[test]
    fn a_request_ends_once() {
        let now = Instant::now();
        let mut inbox = inbox(8, 1000);
        assert_eq!(inbox.finish(&key(1), "soup", 4, now).len(), 0);
        assert_eq!(inbox.admit(key(1), 0, now, 10), Execute);
        assert_eq!(inbox.finish(&key(1), "soup", 4, now).len(), 1);
        assert_eq!(inbox.finish(&key(1), "cake", 4, now).len(), 0);
        assert_eq!(inbox.abandon(&key(1)).len(), 0);
        let answered = Answered { waiter: 11, answer: "soup" };
        assert_eq!(inbox.admit(key(1), 0, now, 11), answered);
    }

    #[test]
    fn too_many_copies_of_one_request_are_refused() {
        let now = Instant::now();
        let mut inbox = inbox(8, 1000);
        assert_eq!(inbox.admit(key(1), 0, now, 10), Execute);
        assert_eq!(inbox.admit(key(1), 0, now, 11), Joined);
        assert_eq!(inbox.admit(key(1), 0, now, 12), Joined);
        assert_eq!(inbox.admit(key(1), 0, now, 13), Full(13));
    }

    #[test]
    fn the_oldest_answer_makes_room_and_a_request_in_progress_never_does() {
        let now = Instant::now();
        let mut inbox = inbox(2, 1000);
        assert_eq!(inbox.admit(key(1), 0, now, 10), Execute);
        assert_eq!(inbox.admit(key(2), 0, now, 20), Execute);
        assert_eq!(inbox.admit(key(3), 0, now, 30), Full(30));
        assert_eq!(inbox.finish(&key(2), "cake", 4, now).len(), 1);
        assert_eq!(inbox.admit(key(3), 0, now, 30), Execute);
        assert_eq!(inbox.admit(key(1), 0, now, 11), Joined);
        assert_eq!(inbox.admit(key(2), 0, now, 21), Full(21), "forgotten, and no room for it now");
    }

    #[test]
    fn bytes_are_bounded() {
        let now = Instant::now();
        let mut inbox = inbox(8, 3 * KEY_BYTES + 10);
        for number in 1..=3 {
            assert_eq!(inbox.admit(key(number), 0, now, 0), Execute);
        }
        assert_eq!(inbox.admit(key(4), 0, now, 0), Full(0), "keys in progress count");
        assert_eq!(inbox.finish(&key(1), "soup", 6, now).len(), 1);
        assert_eq!(inbox.finish(&key(2), "cake", 6, now).len(), 1);
        assert_eq!(inbox.bytes(), 2 * KEY_BYTES + 6, "the older answer made room");
        assert_eq!(inbox.admit(key(1), 0, now, 0), Execute);
        let answered = Answered { waiter: 0, answer: "cake" };
        assert_eq!(inbox.admit(key(2), 0, now, 0), answered);
    }

    #[test]
    fn an_answer_that_cannot_fit_is_not_remembered_and_displaces_nothing() {
        let now = Instant::now();
        let mut inbox = inbox(8, 1000);
        assert_eq!(inbox.admit(key(1), 0, now, 10), Execute);
        assert_eq!(inbox.finish(&key(1), "soup", 4, now).len(), 1);
        assert_eq!(inbox.admit(key(2), 0, now, 20), Execute);
        assert_eq!(inbox.finish(&key(2), "huge", usize::MAX, now).collect::<Vec<_>>(), [20]);
        assert_eq!(inbox.admit(key(2), 0, now, 21), Execute);
        let answered = Answered { waiter: 11, answer: "soup" };
        assert_eq!(inbox.admit(key(1), 0, now, 11), answered);
    }

    #[test]
    fn answers_age_and_requests_in_progress_do_not() {
        let now = Instant::now();
        let mut inbox = inbox(8, 1000);
        assert_eq!(inbox.admit(key(1), 0, now, 10), Execute);
        assert_eq!(inbox.admit(key(2), 0, now, 20), Execute);
        assert_eq!(inbox.finish(&key(1), "soup", 4, now).len(), 1);
        inbox.expire(now + AGE.saturating_sub(Duration::from_nanos(1)));
        assert_eq!(inbox.len(), 2);
        assert_eq!(inbox.admit(key(1), 0, now + AGE, 11), Execute);
        assert_eq!(inbox.admit(key(2), 0, now + 10 * AGE, 21), Joined);
    }

    #[test]
    fn a_million_requests_leave_the_inbox_as_small_as_it_was() {
        let base = Instant::now();
        let mut inbox = Inbox::new(InboxLimits { age: AGE, ..InboxLimits::default() });
        for n in 0..1_000_000_u64 {
            let now = base + Duration::from_micros(10 * n);
            assert_eq!(inbox.admit(key(n), n, now, n), Execute);
            let waiters = if n % 2 == 0 {
                inbox.finish(&key(n), n, 100, now)
            } else {
                inbox.abandon(&key(n))
            };
            assert_eq!(waiters.collect::<Vec<_>>(), [n]);
            assert!(inbox.len() <= 5_000);
        }
        assert!(inbox.in_progress.capacity() <= 256 && inbox.answered.capacity() <= 20_000);
        inbox.expire(base + Duration::from_secs(11));
        assert_eq!((inbox.len(), inbox.in_progress(), inbox.bytes()), (0, 0, 0));
        assert!(inbox.in_progress.capacity() <= 256 && inbox.answered.capacity() <= 256);
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        let now = Instant::now();
        let mut inbox = Inbox::new(InboxLimits::default());
        for n in 0..50_000 {
            assert_eq!(inbox.admit(key(n), 0, now, n), Execute);
        }
        assert!(inbox.in_progress.capacity() >= 50_000);
        for n in 0..50_000 {
            assert_eq!(inbox.finish(&key(n), n, 8, now).len(), 1);
        }
        assert!(inbox.answered.capacity() >= 50_000);
        inbox.expire(now + InboxLimits::default().age);
        assert!(inbox.is_empty());
        assert!(inbox.in_progress.capacity() <= 256 && inbox.answered.capacity() <= 256);
    }

    /// The same behaviour as one list: requests in progress and answers, oldest answer first.
    struct Model {
        limits: InboxLimits,
        entries: Vec<ModelEntry>,
    }

    #[derive(Clone)]
    struct ModelEntry {
        key: u64,
        fingerprint: u64,
        waiters: Vec<u32>,
        answer: Option<(u32, usize, Instant)>,
    }

    impl ModelEntry {
        fn bytes(&self) -> usize {
            KEY_BYTES + self.answer.map_or(0, |(_, size, _)| size)
        }
    }

    impl Model {
        fn bytes(&self) -> usize {
            self.entries.iter().map(ModelEntry::bytes).sum()
        }

        fn expire(&mut self, now: Instant) {
            let age = self.limits.age;
            self.entries.retain(|e| e.answer.is_none_or(|(_, _, since)| now < since + age));
        }

        /// Adds the entry, if forgetting answers can make room for it.
        fn add(&mut self, entry: ModelEntry) -> bool {
            let mut kept = self.entries.clone();
            let fits = |kept: &[ModelEntry]| {
                kept.len() < self.limits.entries
                    && kept.iter().map(ModelEntry::bytes).sum::<usize>() + entry.bytes()
                        <= self.limits.bytes
            };
            while !fits(&kept) {
                let Some(oldest) = kept.iter().position(|e| e.answer.is_some()) else {
                    return false;
                };
                kept.remove(oldest);
            }
            kept.push(entry);
            self.entries = kept;
            true
        }

        fn admit(&mut self, key: u64, fingerprint: u64, waiter: u32) -> Admission<u32, u32> {
            let joined = self.limits.joined;
            match self.entries.iter_mut().find(|e| e.key == key) {
                None => {
                    let entry =
                        ModelEntry { key, fingerprint, waiters: vec![waiter], answer: None };
                    if self.add(entry) { Execute } else { Full(waiter) }
                }
                Some(entry) if entry.fingerprint != fingerprint => Mismatch(waiter),
                Some(ModelEntry { answer: Some((answer, ..)), .. }) => {
                    Answered { waiter, answer: *answer }
                }
                Some(entry) if entry.waiters.len() > joined => Full(waiter),
                Some(entry) => {
                    entry.waiters.push(waiter);
                    Joined
                }
            }
        }

        fn end(&mut self, key: u64, answer: Option<(u32, usize, Instant)>) -> Vec<u32> {
            let in_progress = |e: &ModelEntry| e.key == key && e.answer.is_none();
            let Some(at) = self.entries.iter().position(in_progress) else { return Vec::new() };
            let mut entry = self.entries.remove(at);
            let waiters = std::mem::take(&mut entry.waiters);
            if answer.is_some() {
                self.add(ModelEntry { answer, ..entry });
            }
            waiters
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit { key: u64, fingerprint: u64 },
        Finish { key: u64, size: usize },
        Abandon { key: u64 },
        Advance { by: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let fingerprint = prop_oneof![9 => Just(0_u64), 1 => Just(1_u64)];
        prop_oneof![
            8 => (0..6_u64, fingerprint)
                .prop_map(|(key, fingerprint)| Step::Admit { key, fingerprint }),
            4 => (0..6_u64, 0..80_usize).prop_map(|(key, size)| Step::Finish { key, size }),
            1 => (0..6_u64).prop_map(|key| Step::Abandon { key }),
            2 => (0..60_u64).prop_map(|by| Step::Advance { by }),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_plain_list(
            steps in prop::collection::vec(step(), 0..200),
            entries in 0..6_usize,
            bytes in 0..160_usize,
        ) {
            let limits = InboxLimits { entries, bytes, age: AGE, joined: 2 };
            let mut now = Instant::now();
            let mut inbox = Inbox::new(limits);
            let mut model = Model { limits, entries: Vec::new() };
            for (step, number) in steps.into_iter().zip(0_u32..) {
                match step {
                    Step::Admit { key: k, fingerprint } => {
                        let admission = inbox.admit(key(k), fingerprint, now, number);
                        prop_assert_eq!(admission, model.admit(k, fingerprint, number));
                    }
                    Step::Finish { key: k, size } => {
                        let waiters: Vec<_> = inbox.finish(&key(k), number, size, now).collect();
                        prop_assert_eq!(waiters, model.end(k, Some((number, size, now))));
                    }
                    Step::Abandon { key: k } => {
                        let waiters: Vec<_> = inbox.abandon(&key(k)).collect();
                        prop_assert_eq!(waiters, model.end(k, None));
                    }
                    Step::Advance { by } => {
                        now += Duration::from_millis(by);
                        inbox.expire(now);
                        model.expire(now);
                    }
                }
                let in_progress = model.entries.iter().filter(|e| e.answer.is_none()).count();
                prop_assert_eq!(inbox.len(), model.entries.len());
                prop_assert_eq!(inbox.in_progress(), in_progress);
                prop_assert_eq!(inbox.bytes(), model.bytes());
                prop_assert!(inbox.len() <= entries && inbox.bytes() <= bytes);
            }
            for k in 0..6 {
                drop(inbox.abandon(&key(k)));
            }
            inbox.expire(now + AGE);
            prop_assert_eq!((inbox.len(), inbox.bytes()), (0, 0));
        }
    }
}
