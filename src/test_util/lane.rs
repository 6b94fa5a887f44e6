//! One direction of one connection: what waits to be written, and when it may be.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::packet::Packet;
use super::random::Random;
use super::rule::Cut;

/// What waits in one direction of a connection, held packets included: beyond that nothing is read.
const MAX_BYTES: usize = 1024 * 1024;
const MAX_PACKETS: usize = 16_384;

/// How bytes are handed to the operating system. What the peer reads at once is its own affair: TCP
/// may join what was written apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chunks {
    /// Each packet with one write. The default.
    #[default]
    Packets,
    /// At most so many bytes with one write, at least 1; other tasks run in between.
    Split(usize),
    /// Several packets with one write: when there are so many bytes, or the first has waited so
    /// long. More than 1 MiB is not waited for.
    Join {
        /// This many bytes, or more.
        bytes: usize,
        /// This long at most; [`Duration::MAX`]: for ever.
        within: Duration,
    },
}

/// What a network is like in one direction. By default perfect.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use tower_mqtt::test_util::{Chunks, Conditions};
///
/// let mobile = Conditions {
///     latency: Duration::from_millis(80),
///     jitter: Duration::from_millis(40),
///     bytes_per_second: NonZeroU32::new(16_000),
///     ..Conditions::default()
/// };
/// assert_eq!(mobile.chunks, Chunks::Packets);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// How long every packet is under way.
    pub latency: Duration,
    /// How much longer some are, by the proxy's seed: anything up to this. They stay in order.
    pub jitter: Duration,
    /// How much is written in a second. No limit by default.
    pub bytes_per_second: Option<NonZeroU32>,
    /// What is written at once.
    pub chunks: Chunks,
}

/// What keeps everything from being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stop {
    #[default]
    None,
    /// Nothing is lost.
    Pause,
    /// What comes is lost.
    Blackhole,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Settings {
    pub(super) conditions: Conditions,
    pub(super) stop: Stop,
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) packet: Packet,
    pub(super) random: Random,
    pub(super) cut_after: Option<Cut>,
}

#[derive(Debug)]
pub(super) enum Entry {
    Packet(Item),
    /// The sender has ended its direction.
    End {
        reset: bool,
    },
}

impl Entry {
    pub(super) fn item(self) -> Option<Item> {
        match self {
            Self::Packet(item) => Some(item),
            Self::End { .. } => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Packet(item) => item.packet.bytes.len(),
            Self::End { .. } => 0,
        }
    }
}

/// One task writes to it, one reads from it, and any changes it.
#[derive(Debug)]
pub(super) struct Lane {
    queue: Mutex<Queue>,
    work: Notify,
    room: Notify,
}

#[derive(Debug)]
struct Queue {
    settings: Settings,
    /// By the time at which it is due, and then in the order of arrival.
    waiting: BTreeMap<(Instant, u64), Entry>,
    /// With the rule that holds it.
    held: Vec<(u64, Item)>,
    /// Of both.
    bytes: usize,
    arrived: u64,
    /// When the last packet is due that was not delayed by a rule.
    last_due: Instant,
    /// Both peers have ended, or nobody takes what is written: see `next` and `close`.
    abandoned: bool,
    closed: bool,
}

impl Lane {
    pub(super) fn new(settings: Settings) -> Self {
        let queue = Queue {
            settings,
            waiting: BTreeMap::new(),
            held: Vec::new(),
            bytes: 0,
            arrived: 0,
            last_due: Instant::now(),
            abandoned: false,
            closed: false,
        };
        Self { queue: Mutex::new(queue), work: Notify::new(), room: Notify::new() }
    }

    pub(super) fn settings(&self) -> Settings {
        self.lock().settings
    }

    pub(super) fn is_black_hole(&self) -> bool {
        self.settings().stop == Stop::Blackhole
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
        self.work.notify_one();
    }

    /// Puts something at the end; `later` lets others overtake it.
    pub(super) fn push(&self, entry: Entry, later: Duration, random: Random) {
        self.lock().push(entry, later, random);
        self.work.notify_one();
    }

    pub(super) fn hold(&self, rule: u64, item: Item) {
        let mut queue = self.lock();
        if !queue.closed {
            queue.bytes += item.packet.bytes.len();
            queue.held.push((rule, item));
        }
    }

    /// Lets go what is held by this rule, or by any.
    pub(super) fn release(&self, rule: Option<u64>) {
        let mut queue = self.lock();
        let held = std::mem::take(&mut queue.held);
        let now = Instant::now();
        for (holder, item) in held {
            if rule.is_none_or(|rule| rule == holder) {
                queue.bytes -= item.packet.bytes.len();
                queue.insert(now, Entry::Packet(item));
            } else {
                queue.held.push((holder, item));
            }
        }
        drop(queue);
        self.work.notify_one();
    }

    pub(super) fn held(&self) -> usize {
        self.lock().held.len()
    }

    /// Nobody takes what is written any more: what waits is given up, and what comes as well.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.waiting.clear();
        queue.held.clear();
        queue.bytes = 0;
        drop(queue);
        self.room.notify_one();
    }

    /// Both peers have ended: a black hole need not wait to be healed.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
        self.work.notify_one();
    }

    /// Waits until more may come. Only one task may wait.
    pub(super) async fn room(&self) {
        while self.lock().is_full() {
            self.room.notified().await;
        }
    }

    /// What is to be written next, with one write. Only one task may wait. Nothing is lost when it
    /// is dropped.
    pub(super) async fn next(&self) -> Vec<Entry> {
        loop {
            let when = match self.lock().take(Instant::now()) {
                Ok(entries) => {
                    self.room.notify_one();
                    return entries;
                }
                Err(when) => when,
            };
            tokio::select! {
                () = self.work.notified() => {}
                () = sleep_until(when.unwrap_or_else(Instant::now)), if when.is_some() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that can panic runs while it is locked.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES || self.waiting.len() + self.held.len() >= MAX_PACKETS
    }

    fn push(&mut self, entry: Entry, later: Duration, random: Random) {
        let Conditions { latency, jitter, .. } = self.settings.conditions;
        let jitter = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(random.up_to(jitter));
        let now = Instant::now();
        let on_time = now + latency.saturating_add(jitter).min(LONGEST);
        let on_time = on_time.max(self.last_due);
        if later.is_zero() {
            self.last_due = on_time;
        }
        self.insert(on_time + later.min(LONGEST), entry);
    }

    fn insert(&mut self, due: Instant, entry: Entry) {
        if self.closed {
            return;
        }
        self.bytes += entry.len();
        self.arrived += 1;
        self.waiting.insert((due, self.arrived), entry);
    }

    /// Or when to ask again, if time alone changes the answer.
    fn take(&mut self, now: Instant) -> Result<Vec<Entry>, Option<Instant>> {
        match self.settings.stop {
            Stop::None => {}
            Stop::Blackhole if self.abandoned => return Ok(vec![Entry::End { reset: false }]),
            Stop::Pause | Stop::Blackhole => return Err(None),
        }
        let (first, _) = *self.waiting.first_key_value().ok_or(None)?.0;
        if first > now {
            return Err(Some(first));
        }
        let Chunks::Join { bytes, within } = self.settings.conditions.chunks else {
            return Ok(self.pop(1));
        };
        let (mut due, mut count, mut ended) = (0, 0, false);
        for entry in self.waiting.range(..=(now, u64::MAX)).map(|(_, entry)| entry) {
            due += entry.len();
            count += 1;
            ended |= matches!(entry, Entry::End { .. });
        }
        let latest = first.checked_add(within);
        if ended || due >= bytes || self.is_full() || latest.is_some_and(|latest| latest <= now) {
            return Ok(self.pop(count));
        }
        let following = self.waiting.range((now, u64::MAX)..).next().map(|((due, _), _)| *due);
        Err([latest, following].into_iter().flatten().min())
    }

    fn pop(&mut self, count: usize) -> Vec<Entry> {
        let entries = (0..count).filter_map(|_| self.waiting.pop_first());
        let entries: Vec<Entry> = entries.map(|(_, entry)| entry).collect();
        self.bytes -= entries.iter().map(Entry::len).sum::<usize>();
        entries
    }
}

/// A later time could not be computed with.
const LONGEST: Duration = Duration::from_hours(24 * 365);

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::test_util::packet::Direction;

    const CHANCE: u64 = 7;

    fn random(packet: u64) -> Random {
        Random::new(CHANCE, 1, 0, packet)
    }

    fn item(bytes: &[u8]) -> Item {
        let packet = Packet::raw(1, Direction::ToServer, Bytes::copy_from_slice(bytes));
        Item { packet, random: random(0), cut_after: None }
    }

    fn push(lane: &Lane, bytes: &[u8], later: Duration) {
        lane.push(Entry::Packet(item(bytes)), later, random(0));
    }

    fn with(conditions: Conditions) -> Lane {
        Lane::new(Settings { conditions, stop: Stop::None })
    }

    /// What is written next, and when that is, from now on.
    async fn next(lane: &Lane) -> (Duration, Vec<u8>) {
        let start = Instant::now();
        let items = lane.next().await.into_iter().filter_map(Entry::item);
        let bytes = items.map(|item| item.packet.bytes).collect::<Vec<_>>().concat();
        (start.elapsed(), bytes)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn latency_makes_all_late_and_keeps_the_order() {
        let lane = with(Conditions { latency: SECOND, jitter: SECOND, ..Conditions::default() });
        let mut delays = std::collections::HashSet::new();
        for number in 0..50 {
            lane.push(Entry::Packet(item(&[number])), Duration::ZERO, random(number.into()));
        }
        let start = Instant::now();
        for number in 0..50 {
            assert_eq!(next(&lane).await.1, [number]);
            delays.insert(start.elapsed());
        }
        // Together, as all came at once, and none before a second.
        assert!(delays.iter().all(|delay| (SECOND..=2 * SECOND + SECOND / 100).contains(delay)));
        assert!(delays.len() > 1, "some are later than others");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_delayed_is_overtaken() {
        let lane = with(Conditions::default());
        push(&lane, b"a", SECOND);
        push(&lane, b"b", Duration::ZERO);
        assert_eq!(next(&lane).await, (Duration::ZERO, b"b".to_vec()));
        let (after, bytes) = next(&lane).await;
        assert!(after >= SECOND && bytes == b"a", "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_joined_until_there_are_enough_or_it_took_too_long() {
        let chunks = Chunks::Join { bytes: 4, within: SECOND };
        let lane = with(Conditions { chunks, ..Conditions::default() });
        push(&lane, b"ab", Duration::ZERO);
        push(&lane, b"cd", Duration::ZERO);
        assert_eq!(next(&lane).await, (Duration::ZERO, b"abcd".to_vec()));
        push(&lane, b"e", Duration::ZERO);
        let (after, bytes) = next(&lane).await;
        assert!(after >= SECOND && bytes == b"e", "{after:?}");
        push(&lane, b"f", Duration::ZERO);
        lane.push(Entry::End { reset: false }, Duration::ZERO, random(0));
        assert_eq!(next(&lane).await, (Duration::ZERO, b"f".to_vec()), "nothing follows");
    }

    #[tokio::test(start_paused = true)]
    async fn when_it_is_full_nothing_more_may_come() {
        let lane = with(Conditions::default());
        lane.hold(1, item(&vec![0; MAX_BYTES / 2]));
        assert_ready!(task::spawn(lane.room()).poll());
        push(&lane, &vec![0; MAX_BYTES / 2], Duration::ZERO);
        let mut room = task::spawn(lane.room());
        assert_pending!(room.poll());
        next(&lane).await;
        assert!(room.is_woken());
        assert_ready!(room.poll());
        for _ in 0..MAX_PACKETS - 1 {
            push(&lane, b"", Duration::ZERO);
        }
        let mut room = task::spawn(lane.room());
        assert_pending!(room.poll());
        lane.close();
        assert_ready!(room.poll());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_and_a_black_hole_stop_it_and_the_end_of_both_peers_ends_a_black_hole() {
        for stop in [Stop::Pause, Stop::Blackhole] {
            let lane = with(Conditions::default());
            push(&lane, b"a", Duration::ZERO);
            lane.change(|settings| settings.stop = stop);
            let mut taking = task::spawn(lane.next());
            assert_pending!(taking.poll());
            lane.change(|settings| settings.stop = Stop::None);
            assert_eq!(assert_ready!(taking.poll()).len(), 1);

            lane.change(|settings| settings.stop = stop);
            let mut taking = task::spawn(lane.next());
            assert_pending!(taking.poll());
            lane.abandon();
            if stop == Stop::Blackhole {
                assert_eq!(assert_ready!(taking.poll()).len(), 1);
            } else {
                assert_pending!(taking.poll());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rule_lets_go_what_it_holds_and_no_more() {
        let lane = with(Conditions::default());
        lane.hold(1, item(b"a"));
        lane.hold(2, item(b"b"));
        lane.hold(1, item(b"c"));
        lane.release(Some(1));
        assert_eq!([next(&lane).await.1, next(&lane).await.1], [b"a", b"c"]);
        assert_eq!(lane.held(), 1);
        lane.release(None);
        assert_eq!((next(&lane).await.1, lane.held()), (b"b".to_vec(), 0));
    }
}
