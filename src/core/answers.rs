//! Answers in the order in which they were given, for the [inbox](super::inbox).

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::high_water::HighWater;
use super::inbox::InboxKey;
use super::prehashed::BuildPrehashed;

/// Answers that are found by key and forgotten by age.
pub(super) struct Answers<A> {
    queue: VecDeque<Remembered<A>>,
    // Invariant: for each in `queue` its place there, counted from the first that there ever was.
    places: HashMap<InboxKey, usize, BuildPrehashed>,
    forgotten: usize,
    bytes: usize,
    high_water: HighWater,
}

pub(super) struct Remembered<A> {
    pub(super) key: InboxKey,
    pub(super) fingerprint: u64,
    pub(super) since: Instant,
    /// Of key and answer.
    pub(super) bytes: usize,
    pub(super) answer: A,
}

impl<A> Answers<A> {
    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            places: HashMap::default(),
            forgotten: 0,
            bytes: 0,
            high_water: HighWater::default(),
        }
    }

    pub(super) fn get(&self, key: &InboxKey) -> Option<&Remembered<A>> {
        let place = self.places.get(key)?;
        self.queue.get(place.wrapping_sub(self.forgotten))
    }

    /// Adds the youngest. Its key must not be there yet.
    pub(super) fn push(&mut self, remembered: Remembered<A>) {
        let place = self.forgotten.wrapping_add(self.queue.len());
        self.places.insert(remembered.key, place);
        self.bytes += remembered.bytes;
        self.queue.push_back(remembered);
        self.high_water.raise(self.queue.len());
    }

    /// Whether there was one.
    pub(super) fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.queue.pop_front() else { return false };
        self.places.remove(&oldest.key);
        self.forgotten = self.forgotten.wrapping_add(1);
        self.bytes -= oldest.bytes;
        if let Some(capacity) = self.high_water.lower(self.queue.len()) {
            self.queue.shrink_to(capacity);
            self.places.shrink_to(capacity);
        }
        true
    }

    /// When the oldest was given.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.queue.front().map(|oldest| oldest.since)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Of all keys and answers.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.queue.capacity().max(self.places.capacity())
    }
}
