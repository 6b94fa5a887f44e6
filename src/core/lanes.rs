//! One call in flight for each of many peers: whose turn it is.
//!
//! [`Lanes`] reads no clock and does no I/O; whoever owns it drives it:
//!
//! 1. When a call comes, [`enter`](Lanes::enter) says whether it may leave at once. If not, it waits.
//! 2. When the call in flight ends, call [`release`](Lanes::release), or [`rest`](Lanes::rest) when its
//!    answer may still come; when one that waits gives up, [`leave`](Lanes::leave).
//! 3. When an answer comes that nobody waits for, call [`answered`](Lanes::answered).
//! 4. After any of these, and at [`next_deadline`](Lanes::next_deadline), call [`wake`](Lanes::wake),
//!    then [`next`](Lanes::next) until it returns `None`: the calls that may leave now.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::exchange::Ticket;
use super::high_water::HighWater;

/// The lanes that are not idle: each has one call in flight, and others that wait for their turn.
///
/// A lane without a call takes no memory. All calls are O(log n).
#[derive(Debug)]
pub(crate) struct Lanes {
    limit: usize,
    taken: HashMap<Arc<str>, Lane>,
    /// When rests are over. Invariant: one entry for each lane that rests, and no other.
    rests: BTreeSet<(Instant, Arc<str>)>,
    /// The lane that rests for the answer with this key. Of two with the same key the later one.
    awaited: HashMap<Bytes, Arc<str>>,
    /// Invariant: the lanes whose state is `Free`, each once.
    free: VecDeque<Arc<str>>,
    high_water: HighWater,
}

#[derive(Debug)]
struct Lane {
    state: State,
    /// In the order of their serial numbers.
    waiting: BTreeMap<u64, Ticket>,
}

#[derive(Debug)]
enum State {
    InFlight,
    Resting { until: Instant, key: Bytes },
    Free,
}

/// What [`Lanes::enter`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The call may leave.
    Now,
    /// It waits, and comes out of [`Lanes::next`].
    Later,
    /// There are too many lanes; nothing was changed.
    Full,
}

impl Lanes {
    /// At most so many lanes are taken at once.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: HashMap::new(),
            rests: BTreeSet::new(),
            awaited: HashMap::new(),
            free: VecDeque::new(),
            high_water: HighWater::default(),
        }
    }

    /// The lane's name, to be kept with each call in it. Shared by them all.
    pub(crate) fn name(&self, lane: &str) -> Arc<str> {
        self.taken.get_key_value(lane).map_or_else(|| lane.into(), |(name, _)| Arc::clone(name))
    }

    /// A call comes. `serial` orders the calls of a lane, and names this one while it waits.
    pub(crate) fn enter(&mut self, lane: &Arc<str>, serial: u64, ticket: Ticket) -> Turn {
        if let Some(lane) = self.taken.get_mut(lane) {
            lane.waiting.insert(serial, ticket);
            return Turn::Later;
        }
        if self.taken.len() >= self.limit {
            return Turn::Full;
        }
        let taken = Lane { state: State::InFlight, waiting: BTreeMap::new() };
        self.taken.insert(Arc::clone(lane), taken);
        self.high_water.raise(self.taken.len());
        Turn::Now
    }

    /// A call that waits gives up.
    pub(crate) fn leave(&mut self, lane: &str, serial: u64) {
        if let Some(lane) = self.taken.get_mut(lane) {
            lane.waiting.remove(&serial);
        }
    }

    /// The call in flight has ended, and nothing more comes of it.
    pub(crate) fn release(&mut self, lane: &Arc<str>) {
        let Some(taken) = self.taken.get_mut(lane) else { return };
        if taken.waiting.is_empty() {
            self.remove(lane);
        } else {
            taken.state = State::Free;
            self.free.push_back(Arc::clone(lane));
        }
    }

    /// The call in flight has ended, and the answer with this key may still come. The lane stays
    /// taken until it does, or until then.
    pub(crate) fn rest(&mut self, lane: &Arc<str>, key: Bytes, until: Instant) {
        let Some(taken) = self.taken.get_mut(lane) else { return };
        taken.state = State::Resting { until, key: key.clone() };
        self.rests.insert((until, Arc::clone(lane)));
        self.awaited.insert(key, Arc::clone(lane));
    }

    /// An answer with this key has come: whoever rests for it need not any more.
    pub(crate) fn answered(&mut self, key: &[u8]) {
        if let Some(lane) = self.awaited.get(key).cloned() {
            self.end_rest(&lane);
        }
    }

    /// Ends the rests that are over.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some((until, lane)) = self.rests.first()
            && *until <= now
        {
            let lane = Arc::clone(lane);
            self.end_rest(&lane);
        }
    }

    /// The next call that may leave. It is in flight from now on.
    pub(crate) fn next(&mut self) -> Option<Ticket> {
        while let Some(name) = self.free.pop_front() {
            let Some(lane) = self.taken.get_mut(&name) else { continue };
            if let Some((_, ticket)) = lane.waiting.pop_first() {
                lane.state = State::InFlight;
                return Some(ticket);
            }
            self.remove(&name);
        }
        None
    }

    /// Whether [`next`](Self::next) may have something.
    pub(crate) fn has_next(&self) -> bool {
        !self.free.is_empty()
    }

    /// When the next rest is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.rests.first().map(|(until, _)| *until)
    }

    fn end_rest(&mut self, lane: &Arc<str>) {
        let Some(taken) = self.taken.get_mut(lane) else { return };
        if let State::Resting { until, key } = mem::replace(&mut taken.state, State::InFlight) {
            self.rests.remove(&(until, Arc::clone(lane)));
            if self.awaited.get(&key) == Some(lane) {
                self.awaited.remove(&key);
            }
            self.release(lane);
        }
    }

    fn remove(&mut self, lane: &str) {
        self.taken.remove(lane);
        if let Some(capacity) = self.high_water.lower(self.taken.len()) {
            self.taken.shrink_to(capacity);
            self.awaited.shrink_to(capacity);
            self.free.shrink_to(capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn ticket(serial: u64) -> Ticket {
        Ticket::from_parts((0, serial))
    }

    fn key(serial: u64) -> Bytes {
        Bytes::copy_from_slice(&serial.to_be_bytes())
    }

    #[test]
    fn a_lane_without_a_call_takes_no_memory() {
        let now = Instant::now();
        let mut lanes = Lanes::new(1000);
        let names: Vec<_> = (0..1000).map(|n| lanes.name(&n.to_string())).collect();
        for name in &names {
            assert_eq!(lanes.enter(name, 1, ticket(1)), Turn::Now);
        }
        assert_eq!(lanes.enter(&lanes.name("more"), 1, ticket(1)), Turn::Full);
        for (n, name) in (0..).zip(&names) {
            lanes.rest(name, key(n), now);
        }
        lanes.wake(now);
        assert_eq!((lanes.next(), lanes.next_deadline()), (None, None));
        assert!(lanes.taken.is_empty() && lanes.awaited.is_empty() && lanes.rests.is_empty());
        assert!(lanes.taken.capacity() < 256 && lanes.awaited.capacity() < 256);
    }

    #[test]
    fn two_lanes_that_rest_for_the_same_key_are_told_apart() {
        let now = Instant::now();
        let mut lanes = Lanes::new(10);
        let (a, b) = (lanes.name("a"), lanes.name("b"));
        for (lane, until) in [(&a, now), (&b, now + Duration::from_secs(1))] {
            assert_eq!(lanes.enter(lane, 1, ticket(1)), Turn::Now);
            lanes.rest(lane, key(1), until);
        }
        lanes.wake(now);
        assert_eq!(lanes.awaited.get(&key(1)), Some(&b));
        lanes.answered(&key(1));
        assert!(lanes.taken.is_empty() && lanes.awaited.is_empty() && lanes.rests.is_empty());
    }

    /// One lane, as a list: the first is in flight or rests.
    #[derive(Debug, Default)]
    struct Model {
        calls: VecDeque<u64>,
        rests: Option<Instant>,
        /// Nothing is in flight.
        free: bool,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter,
        End { rest: bool },
        Leave(prop::sample::Index),
        Late,
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = (usize, Step)> {
        let step = prop_oneof![
            4 => Just(Step::Enter),
            2 => any::<bool>().prop_map(|rest| Step::End { rest }),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
            1 => Just(Step::Late),
            1 => (0..30_u64).prop_map(Step::Advance),
        ];
        (0..3_usize, step)
    }

    proptest! {
        #[test]
        fn behaves_like_plain_lists(steps in prop::collection::vec(step(), 0..200)) {
            let mut now = Instant::now();
            let mut lanes = Lanes::new(3);
            let names: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).to_vec();
            let mut models: [Model; 3] = Default::default();
            for (serial, (at, step)) in (0..).zip(steps) {
                let (lane, model) = (&names[at], &mut models[at]);
                let in_flight = !model.calls.is_empty() && model.rests.is_none();
                match step {
                    Step::Enter => {
                        let turn = if model.calls.is_empty() { Turn::Now } else { Turn::Later };
                        prop_assert_eq!(lanes.enter(lane, serial, ticket(serial)), turn);
                        model.calls.push_back(serial);
                    }
                    Step::End { rest: false } if in_flight => {
                        lanes.release(lane);
                        model.calls.pop_front();
                        model.free = true;
                    }
                    Step::End { rest: true } if in_flight => {
                        let until = now + Duration::from_millis(40);
                        lanes.rest(lane, key(model.calls[0]), until);
                        model.rests = Some(until);
                    }
                    Step::Leave(index) if model.calls.len() > 1 => {
                        let call = 1 + index.index(model.calls.len() - 1);
                        lanes.leave(lane, model.calls.remove(call).unwrap());
                    }
                    Step::Late if model.rests.is_some() => {
                        lanes.answered(&key(model.calls[0]));
                        model.rests = Some(now);
                    }
                    Step::Advance(by) => now += Duration::from_millis(by),
                    _ => {}
                }
                lanes.wake(now);
                let mut left = BTreeSet::new();
                while let Some(ticket) = lanes.next() {
                    left.insert(ticket.into_parts().1);
                }
                let mut expected = BTreeSet::new();
                for model in &mut models {
                    if model.rests.take_if(|until| *until <= now).is_some() {
                        model.calls.pop_front();
                        model.free = true;
                    }
                    if mem::take(&mut model.free) {
                        expected.extend(model.calls.front());
                    }
                }
                prop_assert_eq!(left, expected);
                prop_assert_eq!(lanes.next_deadline(), models.iter().filter_map(|m| m.rests).min());
                let taken = models.iter().filter(|model| !model.calls.is_empty()).count();
                prop_assert_eq!(lanes.taken.len(), taken);
                prop_assert!(!lanes.has_next());
            }
        }
    }
}
