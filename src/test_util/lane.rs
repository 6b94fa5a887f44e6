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

/// How bytes are handed to the operating system. What the peer reads at once is its own affair: TCP may
/// join what was written apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chunks {
    /// Each packet with one write. The default.
    #[default]
    Packets,
    /// At most so many bytes with one write, at least 1; other tasks run in between.
    Split(usize),
    /// Several packets with one write: when there are so many bytes, or the first has waited so long.
    /// More than 1 MiB is not waited for.
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
    pub(super) fn push(&self, entry: Entry, later: Duration, random: &Random) {
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

    /// What is to be written next, with one write. Only one task may wait. Nothing is lost when it is
    /// dropped.
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

    fn push(&mut self, entry: Entry, later: Duration, random: &Random) {
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
const LONGEST: Duration = Duration::from_secs(60 * 60 * 24 * 365);
