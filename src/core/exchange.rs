//! The requester's state machine: requests in flight, each waiting for its answer.
//!
//! **Not covered by semantic versioning**: it is public for benchmarks and tests, and may change in any
//! release.
//!
//! [`Exchanges`] pairs answers with requests by correlation data. It reads no clock and does no
//! I/O; whoever owns it drives it:
//!
//! 1. Before a request is published, call [`start`](Exchanges::start) and keep the [`Ticket`].
//! 2. When an answer arrives, call [`complete`](Exchanges::complete) and hand the answer to every
//!    waiter it yields. An answer that nobody waits for is dropped and counted, by the reason given.
//! 3. When a caller gives up, call [`cancel`](Exchanges::cancel) with its ticket.
//! 4. After any of these, call [`next_deadline`](Exchanges::next_deadline) and set a timer for it.
//!    When it fires, call [`pop_expired`](Exchanges::pop_expired) until it returns `None`.
//! 5. After a reconnect, either [`drain`](Exchanges::drain) the table and fail every waiter, or walk
//!    its [`tickets`](Exchanges::tickets) and publish again.
//!
//! Each waiter leaves the table exactly once, through one of these calls.
//!
//! ```
//! use bytes::Bytes;
//! use std::time::{Duration, Instant};
//! use tower_mqtt::core::exchange::{Answer, Exchanges};
//!
//! let now = Instant::now();
//! let mut exchanges = Exchanges::with_capacity_limit(1024);
//! exchanges.start(Bytes::from_static(b"id-1"), now + Duration::from_secs(2), "soup")?;
//! exchanges.start(Bytes::from_static(b"id-2"), now + Duration::from_secs(5), "cake")?;
//!
//! let Answer::Completed(waiters) = exchanges.complete(b"id-2") else { panic!("id-2 waits") };
//! assert_eq!(waiters.collect::<Vec<_>>(), ["cake"]);
//! assert!(matches!(exchanges.complete(b"id-2"), Answer::Duplicate));
//!
//! let later = exchanges.next_deadline().expect("id-1 waits");
//! assert_eq!(exchanges.pop_expired(later), Some("soup"));
//! assert!(matches!(exchanges.complete(b"id-1"), Answer::Late));
//! assert!(exchanges.is_empty());
//! # Ok::<(), tower_mqtt::core::exchange::Full<&str>>(())
//! ```

use std::collections::{BTreeMap, HashMap, hash_map};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;
use std::{error, fmt, mem};

use bytes::Bytes;

use super::ended::{End, Ended};
use super::high_water::HighWater;
use super::prehashed::BuildPrehashed;
use super::waiters::Waiters;

/// How many waiters one id can have: the attempts of a retry or a hedge that are in flight at once.
const MAX_WAITERS_PER_ID: usize = 16;

/// Requests in flight: correlation data to one or more waiters, each with its own deadline.
///
/// A waiter `T` is whatever the caller needs to give the answer to; the table never looks at it.
///
/// # Bounds and memory
///
/// The table holds at most as many waiters as [`with_capacity_limit`](Self::with_capacity_limit)
/// says, and at most 16 per id; [`start`](Self::start) refuses more. It begins empty and grows as
/// it is used. When fewer than a quarter of the exchanges of a burst are left, it gives memory back;
/// an empty table keeps room for about a hundred exchanges (at most 256). A busy table takes 150 to
/// 300 bytes per exchange, plus the id and one to two times the size of `T`. What it remembers of
/// ended exchanges takes 16 KiB, always.
///
/// # Cost
///
/// `start`, `complete`, `cancel` and `pop_expired` are O(log n) in the number of waiters, because of
/// the ordered deadlines. Each hashes the id at most once, with a key of this table's own, so that
/// a peer cannot choose ids that collide.
pub struct Exchanges<T> {
    limit: usize,
    hasher: RandomState,
    in_flight: HashMap<u64, Exchange<T>, BuildPrehashed>,
    // Invariant: one deadline for each waiter in `in_flight`, and no other.
    deadlines: BTreeMap<(Instant, u64), u64>,
    next_sequence: u64,
    ended: Ended,
    high_water: HighWater,
}

/// Names one waiter in an [`Exchanges`] table, never the whole exchange.
///
/// It is never given out twice: once its waiter has left, a ticket names nothing and is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    hash: u64,
    sequence: u64,
}

/// Where an exchange is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    hash: u64,
}

/// What [`Exchanges::complete`] found.
#[derive(Debug)]
#[must_use = "the waiters must be given the answer"]
pub enum Answer<T> {
    /// The exchange was in flight and has ended; every waiter gets the answer.
    Completed(Waiters<T>),
    /// The answer came after the last waiter had expired, was cancelled or was drained.
    Late,
    /// The exchange had been completed before.
    Duplicate,
    /// The id is not known: foreign, malformed, or ended too long ago to be remembered.
    Unknown,
}

/// The waiter could not be added; it is given back.
///
/// See [`Exchanges::start`] for when this happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Full<T>(
    /// The waiter that was refused.
    pub T,
);

impl Ticket {
    pub(crate) const fn into_parts(self) -> (u64, u64) {
        (self.hash, self.sequence)
    }

    pub(crate) const fn from_parts((hash, sequence): (u64, u64)) -> Self {
        Self { hash, sequence }
    }
}

impl<T> Exchanges<T> {
    /// Makes an empty table that holds at most `max_waiters` waiters.
    ///
    /// Nothing is allocated in advance for them. A limit of 0 refuses every start.
    pub fn with_capacity_limit(max_waiters: usize) -> Self {
        Self {
            limit: max_waiters,
            hasher: RandomState::new(),
            in_flight: HashMap::default(),
            deadlines: BTreeMap::new(),
            next_sequence: 0,
            ended: Ended::new(),
            high_water: HighWater::default(),
        }
    }

    /// Adds a waiter for the answer with this id; call it before the request is published.
    ///
    /// When the id is in flight already, the waiter joins: a retry or a hedge keeps its correlation
    /// data, and the first answer completes all its attempts. Joined waiters keep their own
    /// deadlines. A deadline that has passed is accepted; the waiter comes out at the next
    /// [`pop_expired`](Self::pop_expired).
    ///
    /// # Errors
    ///
    /// [`Full`] gives the waiter back and changes nothing, when the table or the id (16) has all the
    /// waiters it may have. It is also the answer when two ids in flight have the same 64-bit keyed
    /// hash; with 65,536 requests in flight this is expected once in 2^48 requests.
    pub fn start(&mut self, id: Bytes, deadline: Instant, waiter: T) -> Result<Ticket, Full<T>> {
        let hash = self.hash(&id);
        self.start_hashed(hash, id, deadline, waiter)
    }

    fn start_hashed(
        &mut self,
        hash: u64,
        id: Bytes,
        deadline: Instant,
        value: T,
    ) -> Result<Ticket, Full<T>> {
        if self.len() >= self.limit {
            return Err(Full(value));
        }
        let sequence = self.next_sequence;
        let waiter = Waiter { sequence, deadline, value };
        match self.in_flight.entry(hash) {
            hash_map::Entry::Vacant(slot) => {
                slot.insert(Exchange { id, first: waiter, joined: Vec::new() });
            }
            hash_map::Entry::Occupied(mut slot) => slot.get_mut().join(&id, waiter)?,
        }
        self.next_sequence += 1;
        self.deadlines.insert((deadline, sequence), hash);
        self.high_water.raise(self.in_flight.len());
        Ok(Ticket { hash, sequence })
    }

    /// Ends the exchange with this id; call it when an answer arrives.
    ///
    /// An answer that nobody waits for is told apart as far as it is remembered: the table keeps the
    /// hashes of about the last thousand ids that ended. A late or duplicate answer to an older one
    /// counts as [`Answer::Unknown`]. Only counters depend on it.
    pub fn complete(&mut self, id: &[u8]) -> Answer<T> {
        self.complete_hashed(self.hash(id), id)
    }

    /// Ends the exchange that [`find`](Self::find) found by this id, without hashing it again.
    pub(crate) fn complete_found(&mut self, found: Found, id: &[u8]) -> Answer<T> {
        self.complete_hashed(found.hash, id)
    }

    fn complete_hashed(&mut self, hash: u64, id: &[u8]) -> Answer<T> {
        let exchange = match self.in_flight.entry(hash) {
            hash_map::Entry::Occupied(slot) if slot.get().id == id => slot.remove(),
            _ => return self.nobody_waits(hash),
        };
        for waiter in exchange.waiters() {
            self.deadlines.remove(&(waiter.deadline, waiter.sequence));
        }
        self.forget(hash, End::Completed);
        Answer::Completed(exchange.into_waiters())
    }

    /// Removes one waiter; call it when a caller gives up. `None` if the ticket's waiter has left.
    ///
    /// The exchange goes with its last waiter; an answer after that is [`Answer::Late`].
    pub fn cancel(&mut self, ticket: Ticket) -> Option<T> {
        let waiter = self.remove(ticket)?;
        self.deadlines.remove(&(waiter.deadline, waiter.sequence));
        Some(waiter.value)
    }

    /// Whether an answer with this id would find a waiter.
    pub fn contains(&self, id: &[u8]) -> bool {
        self.find(id).is_some()
    }

    /// The exchange that an answer with this id would end.
    pub(crate) fn find(&self, id: &[u8]) -> Option<Found> {
        let hash = self.hash(id);
        let exchange = self.in_flight.get(&hash)?;
        (exchange.id == id).then_some(Found { hash })
    }

    /// Removes the first waiter of this id for which `pred` says so; like
    /// [`cancel`](Self::cancel), for a caller that knows its id but not its ticket.
    pub fn cancel_where(&mut self, id: &[u8], mut pred: impl FnMut(&T) -> bool) -> Option<T> {
        let hash = self.hash(id);
        let exchange = self.in_flight.get(&hash).filter(|exchange| exchange.id == id)?;
        let sequence = exchange.waiters().find(|w| pred(&w.value))?.sequence;
        self.cancel(Ticket { hash, sequence })
    }

    /// The tickets of all waiters, in no particular order.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.deadlines.iter().map(|(&(_, sequence), &hash)| Ticket { hash, sequence })
    }

    /// When the ticket's waiter expires, if it has not left.
    pub fn deadline(&self, ticket: Ticket) -> Option<Instant> {
        let exchange = self.in_flight.get(&ticket.hash)?;
        exchange.waiters().find(|w| w.sequence == ticket.sequence).map(|w| w.deadline)
    }

    /// The ticket's waiter, if it has not left.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        let exchange = self.in_flight.get_mut(&ticket.hash)?;
        exchange.waiters_mut().find(|w| w.sequence == ticket.sequence).map(|w| &mut w.value)
    }

    /// The earliest deadline in the table; when it has come, call
    /// [`pop_expired`](Self::pop_expired).
    ///
    /// It may change with every other call.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Removes and returns the waiter with the earliest deadline, if `now` has reached it.
    ///
    /// Call it until it returns `None`. Waiters with the same deadline come out in the order in
    /// which they were started.
    pub fn pop_expired(&mut self, now: Instant) -> Option<T> {
        let (&(deadline, sequence), &hash) = self.deadlines.first_key_value()?;
        if deadline > now {
            return None;
        }
        self.cancel(Ticket { hash, sequence })
    }

    /// Removes every waiter; call it to fail them all, as on a lost connection.
    ///
    /// The table is empty at once, even if the iterator is dropped early. Those of the earliest
    /// deadline come first, and each brings the others of its id with it. An answer after that is
    /// [`Answer::Late`].
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let deadlines = mem::take(&mut self.deadlines);
        self.high_water = HighWater::default();
        let mut drained = mem::take(&mut self.in_flight);
        for &hash in drained.keys() {
            self.ended.remember(hash, End::Abandoned);
        }
        let exchanges = deadlines.into_values().filter_map(move |hash| drained.remove(&hash));
        exchanges.flat_map(Exchange::into_waiters)
    }

    /// Every waiter with its id.
    ///
    /// The order is not specified, but waiters that share an id come one after the other, so that a
    /// shared request can be published once.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Bytes, &mut T)> {
        self.in_flight.values_mut().flat_map(|exchange| {
            let Exchange { id, first, joined } = exchange;
            let id = &*id;
            std::iter::once(first).chain(joined).map(move |waiter| (id, &mut waiter.value))
        })
    }

    /// How many waiters there are.
    pub fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    fn nobody_waits(&self, hash: u64) -> Answer<T> {
        match self.ended.recall(hash) {
            Some(End::Completed) => Answer::Duplicate,
            Some(End::Abandoned) => Answer::Late,
            None => Answer::Unknown,
        }
    }

    fn hash(&self, id: &[u8]) -> u64 {
        self.hasher.hash_one(id)
    }

    /// Takes the waiter out of its exchange; its deadline is the caller's to remove.
    fn remove(&mut self, ticket: Ticket) -> Option<Waiter<T>> {
        let hash_map::Entry::Occupied(mut slot) = self.in_flight.entry(ticket.hash) else {
            return None;
        };
        let Exchange { first, joined, .. } = slot.get_mut();
        if first.sequence != ticket.sequence {
            let at = joined.iter().position(|w| w.sequence == ticket.sequence)?;
            return Some(joined.remove(at));
        }
        if !joined.is_empty() {
            return Some(mem::replace(first, joined.remove(0)));
        }
        let exchange = slot.remove();
        self.forget(ticket.hash, End::Abandoned);
        Some(exchange.first)
    }

    /// What follows the removal of an exchange.
    fn forget(&mut self, hash: u64, end: End) {
        self.ended.remember(hash, end);
        if let Some(capacity) = self.high_water.lower(self.in_flight.len()) {
            self.in_flight.shrink_to(capacity);
        }
    }
}

impl<T> fmt::Debug for Exchanges<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanges")
            .field("len", &self.len())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full(..)")
    }
}

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many requests in flight")
    }
}

impl<T> error::Error for Full<T> {}

/// One id in flight, with its waiters in the order in which they were started.
struct Exchange<T> {
    id: Bytes,
    first: Waiter<T>,
    joined: Vec<Waiter<T>>,
}

struct Waiter<T> {
    sequence: u64,
    deadline: Instant,
    value: T,
}

impl<T> Exchange<T> {
    fn join(&mut self, id: &Bytes, waiter: Waiter<T>) -> Result<(), Full<T>> {
        if self.id != id || self.joined.len() + 1 >= MAX_WAITERS_PER_ID {
            return Err(Full(waiter.value));
        }
        self.joined.push(waiter);
        Ok(())
    }

    fn waiters(&self) -> impl Iterator<Item = &Waiter<T>> {
        std::iter::once(&self.first).chain(&self.joined)
    }

    fn waiters_mut(&mut self) -> impl Iterator<Item = &mut Waiter<T>> {
        std::iter::once(&mut self.first).chain(&mut self.joined)
    }

    fn into_waiters(self) -> Waiters<T> {
        let joined = self.joined.into_iter().map(|waiter| waiter.value).collect();
        Waiters::new(self.first.value, joined)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn id(number: u64) -> Bytes {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }

    #[derive(Debug, PartialEq)]
    enum Seen {
        Completed(Vec<u64>),
        Late,
        Duplicate,
        Unknown,
    }

    fn seen(answer: Answer<u64>) -> Seen {
        match answer {
            Answer::Completed(waiters) => Seen::Completed(waiters.collect()),
            Answer::Late => Seen::Late,
            Answer::Duplicate => Seen::Duplicate,
            Answer::Unknown => Seen::Unknown,
        }
    }

    #[test]
    fn an_answer_goes_to_its_own_request_only() {
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(8);
        table.start(id(1), now, 10).unwrap();
        table.start(id(2), now, 20).unwrap();
        assert_eq!(seen(table.complete(&id(2))), Seen::Completed(vec![20]));
        assert_eq!(seen(table.complete(&id(2))), Seen::Duplicate);
        assert_eq!(seen(table.complete(b"")), Seen::Unknown);
        assert_eq!(seen(table.complete(&id(1))), Seen::Completed(vec![10]));
        assert_eq!(table.len(), 0);
        assert_eq!(table.next_deadline(), None);
    }

    #[test]
    fn attempts_share_one_answer_and_a_cancel_names_one_of_them() {
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(8);
        let first = table.start(id(1), now, 10).unwrap();
        table.start(id(1), now, 11).unwrap();
        table.start(id(1), now, 12).unwrap();
        assert_eq!(table.cancel(first), Some(10));
        assert_eq!(table.cancel(first), None);
        assert_eq!(seen(table.complete(&id(1))), Seen::Completed(vec![11, 12]));
    }

    #[test]
    fn the_exchange_goes_with_its_last_waiter() {
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(8);
        let ticket = table.start(id(1), now, 10).unwrap();
        assert_eq!(table.cancel(ticket), Some(10));
        assert_eq!(seen(table.complete(&id(1))), Seen::Late);
    }

    #[test]
    fn a_stale_ticket_does_not_touch_a_later_request_with_the_same_id() {
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(8);
        let stale = table.start(id(1), now, 10).unwrap();
        assert_eq!(seen(table.complete(&id(1))), Seen::Completed(vec![10]));
        let fresh = table.start(id(1), now, 11).unwrap();
        assert_eq!(table.get_mut(stale), None);
        assert_eq!(table.cancel(stale), None);
        assert_eq!(table.get_mut(fresh), Some(&mut 11));
    }

    #[test]
    fn waiters_expire_in_the_order_of_their_deadlines() {
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(8);
        table.start(id(1), now + ms(30), 10).unwrap();
        table.start(id(1), now + ms(10), 11).unwrap();
        table.start(id(2), now + ms(20), 20).unwrap();
        assert_eq!(table.next_deadline(), Some(now + ms(10)));
        assert_eq!(table.pop_expired(now + ms(9)), None);
        assert_eq!(table.pop_expired(now + ms(20)), Some(11));
        assert_eq!(table.pop_expired(now + ms(20)), Some(20));
        assert_eq!(table.pop_expired(now + ms(20)), None);
        assert_eq!(seen(table.complete(&id(1))), Seen::Completed(vec![10]));
        assert_eq!(seen(table.complete(&id(2))), Seen::Late);
    }

    #[test]
    fn a_full_table_gives_the_waiter_back() {
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(1);
        table.start(id(1), now, 10).unwrap();
        assert_eq!(table.start(id(1), now, 11), Err(Full(11)));
        assert_eq!(table.start(id(2), now, 20), Err(Full(20)));
        assert_eq!(seen(table.complete(&id(1))), Seen::Completed(vec![10]));
        assert!(table.start(id(2), now, 20).is_ok());
    }

    #[test]
    fn one_id_has_a_bounded_number_of_waiters() {
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(100);
        for waiter in 0..16 {
            table.start(id(1), now, waiter).unwrap();
        }
        assert_eq!(table.start(id(1), now, 16), Err(Full(16)));
        assert_eq!(seen(table.complete(&id(1))), Seen::Completed((0..16).collect()));
    }

    #[test]
    fn ids_whose_hashes_collide_are_never_mixed_up() {
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(8);
        table.start_hashed(7, id(1), now, 10).unwrap();
        assert_eq!(table.start_hashed(7, id(2), now, 20), Err(Full(20)));
        assert_eq!(seen(table.complete_hashed(7, &id(2))), Seen::Unknown);
        assert_eq!(seen(table.complete_hashed(7, &id(1))), Seen::Completed(vec![10]));
    }

    #[test]
    fn waiters_can_be_walked_for_publishing_again() {
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(8);
        table.start(id(1), now, 10).unwrap();
        table.start(id(2), now, 20).unwrap();
        let joined = table.start(id(1), now, 11).unwrap();
        let mut walked = Vec::new();
        for (id, waiter) in table.iter_mut() {
            walked.push((id.clone(), *waiter));
            *waiter += 100;
        }
        assert!(walked.windows(2).any(|pair| pair[0].0 == pair[1].0), "shared ids are adjacent");
        walked.sort();
        assert_eq!(walked, [(id(1), 10), (id(1), 11), (id(2), 20)]);
        assert_eq!(table.get_mut(joined), Some(&mut 111));
    }

    #[test]
    fn drain_empties_the_table_even_when_dropped_early() {
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(8);
        table.start(id(1), now, 10).unwrap();
        table.start(id(2), now, 20).unwrap();
        drop(table.drain());
        assert_eq!(table.len(), 0);
        assert_eq!(table.next_deadline(), None);
        assert_eq!(seen(table.complete(&id(1))), Seen::Late);
    }

    #[test]
    fn a_million_exchanges_leave_the_table_as_small_as_it_was() {
        let base = Instant::now();
        let mut table = Exchanges::with_capacity_limit(1024);
        let mut tickets = std::collections::VecDeque::new();
        for n in 0..1_000_000_u64 {
            let now = base + Duration::from_micros(n);
            let ticket = table.start(id(n), now + Duration::from_micros(200), n).unwrap();
            tickets.push_back((n, ticket));
            while table.pop_expired(now).is_some() {}
            if tickets.len() > 100 {
                let (oldest, ticket) = tickets.pop_front().unwrap();
                match oldest % 3 {
                    0 => {
                        assert_eq!(
                            seen(table.complete(&id(oldest))),
                            Seen::Completed(vec![oldest])
                        );
                    }
                    1 => assert_eq!(table.cancel(ticket), Some(oldest)),
                    _ => {} // left to expire
                }
            }
            assert!(table.len() <= 201);
        }
        assert!(table.in_flight.capacity() <= 1024, "{}", table.in_flight.capacity());
        while table.pop_expired(base + Duration::from_secs(2)).is_some() {}
        assert_eq!(table.len(), 0);
        assert!(table.in_flight.is_empty());
        assert!(table.in_flight.capacity() <= 256, "{}", table.in_flight.capacity());
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        const BURST: u64 = 100_000;
        let now = Instant::now();
        let mut table = Exchanges::with_capacity_limit(usize::MAX);
        for round in 0..3 {
            let tickets: Vec<_> = (0..BURST).map(|n| table.start(id(n), now, n).unwrap()).collect();
            assert!(table.in_flight.capacity() >= 100_000);
            match round {
                0 => (0..BURST).for_each(|n| assert_ne!(seen(table.complete(&id(n))), Seen::Late)),
                1 => tickets.into_iter().for_each(|ticket| assert!(table.cancel(ticket).is_some())),
                _ => while table.pop_expired(now).is_some() {},
            }
            assert!(table.is_empty());
            assert!(table.in_flight.capacity() <= 256, "{}", table.in_flight.capacity());
        }
    }

    /// The same behaviour, without any index.
    #[derive(Default)]
    struct Model {
        waiters: Vec<(Bytes, Instant, u64)>, // in the order in which they were started
        ended: HashMap<Bytes, bool>,         // whether it was completed
    }

    impl Model {
        fn complete(&mut self, id: &Bytes) -> Seen {
            let waiting: Vec<_> = self.waiters.extract_if(.., |w| w.0 == id).map(|w| w.2).collect();
            if waiting.is_empty() {
                return match self.ended.get(id) {
                    Some(true) => Seen::Duplicate,
                    Some(false) => Seen::Late,
                    None => Seen::Unknown,
                };
            }
            self.ended.insert(id.clone(), true);
            Seen::Completed(waiting)
        }

        fn remove(&mut self, value: u64) -> Option<u64> {
            let at = self.waiters.iter().position(|w| w.2 == value)?;
            let (id, _, value) = self.waiters.remove(at);
            if !self.waiters.iter().any(|w| w.0 == id) {
                self.ended.insert(id, false);
            }
            Some(value)
        }

        fn pop_expired(&mut self, now: Instant) -> Option<u64> {
            let next = self.waiters.iter().min_by_key(|w| (w.1, w.2)).filter(|w| w.1 <= now)?.2;
            self.remove(next)
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Start { id: usize, timeout: u64 },
        Complete { id: usize },
        Cancel { started: prop::sample::Index },
        Advance { by: u64 },
        Drain,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..6_usize, 0..50_u64).prop_map(|(id, timeout)| Step::Start { id, timeout }),
            3 => (0..6_usize).prop_map(|id| Step::Complete { id }),
            3 => any::<prop::sample::Index>().prop_map(|started| Step::Cancel { started }),
            2 => (0..20_u64).prop_map(|by| Step::Advance { by }),
            1 => Just(Step::Drain),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_plain_list(steps in prop::collection::vec(step(), 0..200)) {
            const LIMIT: usize = 12;
            let mut now = Instant::now();
            let mut table = Exchanges::with_capacity_limit(LIMIT);
            let mut model = Model::default();
            let ids = (0..6).map(id).collect::<Vec<Bytes>>();
            let mut tickets = Vec::new();
            for step in steps {
                match step {
                    Step::Start { id, timeout } => {
                        let (id, deadline, value) = (&ids[id], now + ms(timeout), tickets.len() as u64);
                        let started = table.start(id.clone(), deadline, value);
                        prop_assert_eq!(started.is_ok(), model.waiters.len() < LIMIT);
                        if let Ok(ticket) = started {
                            tickets.push(ticket);
                            model.waiters.push((id.clone(), deadline, value));
                        }
                    }
                    Step::Complete { id } => {
                        prop_assert_eq!(seen(table.complete(&ids[id])), model.complete(&ids[id]));
                    }
                    Step::Cancel { started } if !tickets.is_empty() => {
                        let at = started.index(tickets.len());
                        let expected = model.remove(at as u64);
                        prop_assert_eq!(table.get_mut(tickets[at]).copied(), expected);
                        prop_assert_eq!(table.cancel(tickets[at]), expected);
                    }
                    Step::Cancel { .. } => {}
                    Step::Advance { by } => {
                        now += ms(by);
                        while let Some(expired) = model.pop_expired(now) {
                            prop_assert_eq!(table.pop_expired(now), Some(expired));
                        }
                        prop_assert_eq!(table.pop_expired(now), None);
                    }
                    Step::Drain => {
                        let mut drained: Vec<_> = table.drain().collect();
                        drained.sort_unstable();
                        let expected: Vec<_> = model.waiters.iter().map(|w| w.2).collect();
                        for &value in &expected {
                            model.remove(value);
                        }
                        prop_assert_eq!(drained, expected);
                    }
                }
                prop_assert_eq!(table.len(), model.waiters.len());
                prop_assert_eq!(table.next_deadline(), model.waiters.iter().map(|w| w.1).min());
                let mut walked: Vec<_> = table.iter_mut().map(|(id, w)| (*w, id.clone())).collect();
                walked.sort();
                let expected: Vec<_> = model.waiters.iter().map(|w| (w.2, w.0.clone())).collect();
                prop_assert_eq!(walked, expected);
            }
            while table.pop_expired(now + ms(50)).is_some() {}
            prop_assert_eq!(table.len(), 0);
            prop_assert!(table.in_flight.is_empty());
        }
    }
}
