//! Ids that come round again: which one to lend next.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

/// How many calls of one device can be at rest; beyond that it is lent no number. More than a device
/// is asked in the time of any quarantine, so that one that never answers cannot take what all share.
const AT_REST_OF_A_DEVICE: usize = 1_024;

/// How many calls can be at rest as such, in about 20 MB; a number of one more rests for everybody.
const AT_REST: usize = 262_144;

/// How many numbers are passed over for one call, because they rest for it.
const PASSED_OVER: usize = 64;

/// The numbers of one range, lent one at a time: the one that was used least recently first.
///
/// A number whose answer may still come rests: it is not lent to a call that would take this answer for
/// its own, which is one with the same key. Others may have it.
///
/// It reads no clock; whoever lends says what time it is. Every call is O(1), spread over the calls.
/// It begins without an allocation and grows to at most 2 bytes for each number that was used, and what
/// is at rest.
#[derive(Debug)]
pub(crate) struct ShortIds {
    first: u16,
    last: u16,
    /// The next number that was never used, while there are such.
    next: u16,
    never_used: u32,
    /// Those that came back; the one that was used least recently in front.
    returned: VecDeque<u16>,
    /// What rests, in the order in which it came.
    resting: VecDeque<(Instant, Rest)>,
    /// The keys that rest, and how many there are of each device.
    keys: HashSet<u32>,
    devices: HashMap<u32, usize>,
}

/// What a number is lent for. Both are hashes: where two are alike by chance, a number rests that need
/// not, and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Purpose {
    /// Of what pairs the call with its answer.
    pub(crate) key: u32,
    /// Of the device that is asked.
    pub(crate) device: u32,
}

#[derive(Debug)]
enum Rest {
    ForItsKey(Purpose),
    ForAll(u16),
}

impl ShortIds {
    /// The numbers from `first` to `last`, beginning with `start` and going round.
    ///
    /// `start` is best drawn at random: after a restart, or beside another requester, an answer to
    /// an earlier request is then unlikely to meet a request with the same id.
    pub(crate) fn new(first: u16, last: u16, start: u16) -> Self {
        Self {
            first,
            last,
            next: start.clamp(first, last),
            never_used: u32::from(last.saturating_sub(first)) + 1,
            returned: VecDeque::new(),
            resting: VecDeque::new(),
            keys: HashSet::new(),
            devices: HashMap::new(),
        }
    }

    /// Lends the number that was used least recently. `device` and `key` say what a number would be lent
    /// [for](Purpose); the key is asked only while something rests. `None` when all are lent or rest, or
    /// too much of the device does.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        device: u32,
        key: impl Fn(u16) -> u32,
    ) -> Option<u16> {
        self.wake(now);
        if self.keys.is_empty() {
            return self.take_fresh().or_else(|| self.returned.pop_front());
        }
        if self.devices.get(&device).is_some_and(|at_rest| *at_rest >= AT_REST_OF_A_DEVICE) {
            return None;
        }
        self.take_fresh().or_else(|| {
            for _ in 0..self.returned.len().min(PASSED_OVER + 1) {
                if !self.keys.contains(&key(*self.returned.front()?)) {
                    return self.returned.pop_front();
                }
                self.returned.rotate_left(1);
            }
            None
        })
    }

    fn take_fresh(&mut self) -> Option<u16> {
        self.never_used = self.never_used.checked_sub(1)?;
        let id = self.next;
        self.next = if id == self.last { self.first } else { id + 1 };
        Some(id)
    }

    /// Takes a number back that may be lent again at once.
    pub(crate) fn give_back(&mut self, id: u16) {
        self.returned.push_back(id);
    }

    /// Takes a number back that must rest until then for what it was lent for: its answer may still come.
    /// What came earlier and rests longer keeps it waiting.
    pub(crate) fn quarantine(&mut self, id: u16, purpose: Purpose, until: Instant) {
        if self.keys.len() >= AT_REST || !self.keys.insert(purpose.key) {
            self.resting.push_back((until, Rest::ForAll(id)));
            return;
        }
        *self.devices.entry(purpose.device).or_default() += 1;
        self.resting.push_back((until, Rest::ForItsKey(purpose)));
        self.returned.push_back(id);
    }

    fn wake(&mut self, now: Instant) {
        while let Some((_, rest)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            match rest {
                Rest::ForItsKey(purpose) => self.end_of(purpose),
                Rest::ForAll(id) => self.returned.push_back(id),
            }
        }
    }

    fn end_of(&mut self, Purpose { key, device }: Purpose) {
        self.keys.remove(&key);
        if let Some(count) = self.devices.get_mut(&device) {
            *count -= 1;
            if *count == 0 {
                self.devices.remove(&device);
            }
        }
        if self.keys.is_empty() {
            // A burst is over.
            (self.keys, self.devices) = (HashSet::new(), HashMap::new());
            self.resting.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// What a number is lent to a device for, where the device is a part of the key.
    fn purpose(device: u32, id: u16) -> Purpose {
        Purpose { key: device << 16 | u32::from(id), device }
    }

    fn take(ids: &mut ShortIds, device: u32, now: Instant) -> Option<u16> {
        ids.take(now, device, |id| purpose(device, id).key)
    }

    #[test]
    fn each_number_is_lent_before_one_comes_round_again() {
        let now = Instant::now();
        let mut ids = ShortIds::new(10_000, u16::MAX, 40_000);
        let mut seen = vec![false; 1 << 16];
        for n in 0..55_536_u32 {
            let id = take(&mut ids, 0, now).unwrap();
            assert_eq!(u32::from(id), (30_000 + n) % 55_536 + 10_000);
            assert!(!std::mem::replace(&mut seen[usize::from(id)], true));
            ids.give_back(id);
        }
        assert_eq!(take(&mut ids, 0, now), Some(40_000));
    }

    #[test]
    fn one_that_rests_is_not_lent_before_its_time_except_to_others() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut ids = ShortIds::new(7, 8, 7);
        let all = [0, 0, 0].map(|device| take(&mut ids, device, now));
        assert_eq!(all, [Some(7), Some(8), None]);
        ids.quarantine(7, purpose(0, 7), later);
        ids.give_back(8);
        assert_eq!([0, 0].map(|device| take(&mut ids, device, now)), [Some(8), None]);
        assert_eq!([1, 1].map(|device| take(&mut ids, device, now)), [Some(7), None]);
        ids.quarantine(7, purpose(1, 7), later);
        assert_eq!([0, 1].map(|device| take(&mut ids, device, now)), [None, None]);
        assert_eq!([0, 0].map(|device| take(&mut ids, device, later)), [Some(7), None]);
        assert!(ids.keys.is_empty() && ids.devices.is_empty() && ids.resting.is_empty());
    }

    #[test]
    fn a_device_that_never_answers_takes_nothing_from_the_others() {
        let now = Instant::now();
        let later = now + Duration::from_mins(1);
        let mut ids = ShortIds::new(10_000, u16::MAX, 10_000);
        for _ in 0..AT_REST_OF_A_DEVICE {
            let id = take(&mut ids, 0, now).unwrap();
            ids.quarantine(id, purpose(0, id), later);
        }
        assert_eq!(take(&mut ids, 0, now), None);
        let mut lent = HashSet::new();
        while let Some(id) = take(&mut ids, 1, now) {
            assert!(lent.insert(id));
        }
        assert_eq!(lent.len(), 55_536);
        ids.give_back(10_000);
        assert_eq!(take(&mut ids, 0, later), Some(10_000));
    }

    #[test]
    fn when_too_much_rests_a_number_rests_for_everybody() {
        let now = Instant::now();
        let later = now + Duration::from_mins(1);
        let mut ids = ShortIds::new(10_000, u16::MAX, 10_000);
        for call in (0..u32::MAX).take(AT_REST) {
            let id = ids.take(now, call, |_| u32::MAX).unwrap();
            ids.quarantine(id, Purpose { key: call, device: call }, later);
        }
        let id = ids.take(now, u32::MAX, |_| u32::MAX).unwrap();
        ids.quarantine(id, Purpose { key: u32::MAX, device: u32::MAX }, later);
        assert_eq!((ids.keys.len(), ids.returned.len()), (AT_REST, 55_535));
        ids.wake(later);
        assert_eq!((ids.keys.len(), ids.returned.len()), (0, 55_536));
    }

    /// Every number, in the order of their last use, and what rests for which device.
    struct Model {
        free: Vec<u16>,
        rests: Vec<(u32, u16, Instant)>,
    }

    impl Model {
        fn take(&mut self, device: u32, now: Instant) -> Option<u16> {
            self.rests.retain(|(.., until)| *until > now);
            let rests = |id: u16| self.rests.iter().any(|rest| (rest.0, rest.1) == (device, id));
            let at = self.free.iter().position(|id| !rests(*id));
            // What is passed over comes last.
            self.free.rotate_left(at.unwrap_or(0));
            at.map(|_| self.free.remove(0))
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u32),
        GiveBack(prop::sample::Index),
        Quarantine(prop::sample::Index),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0..3_u32).prop_map(Step::Take),
            2 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
            2 => any::<prop::sample::Index>().prop_map(Step::Quarantine),
            2 => (0..20_u64).prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_plain_list(
            count in 1..12_u16,
            start in 0..12_u16,
            steps in prop::collection::vec(step(), 0..300),
        ) {
            const QUARANTINE: Duration = Duration::from_millis(30);
            let start = 100 + start % count;
            let mut now = Instant::now();
            let mut ids = ShortIds::new(100, 99 + count, start);
            let free = (start..100 + count).chain(100..start).collect();
            let mut model = Model { free, rests: Vec::new() };
            let mut lent = Vec::new();
            for step in steps {
                match step {
                    Step::Take(device) => {
                        let id = take(&mut ids, device, now);
                        prop_assert_eq!(id, model.take(device, now));
                        lent.extend(id.map(|id| (device, id)));
                    }
                    Step::GiveBack(at) if !lent.is_empty() => {
                        let (_, id) = lent.swap_remove(at.index(lent.len()));
                        ids.give_back(id);
                        model.free.push(id);
                    }
                    Step::Quarantine(at) if !lent.is_empty() => {
                        let (device, id) = lent.swap_remove(at.index(lent.len()));
                        ids.quarantine(id, purpose(device, id), now + QUARANTINE);
                        model.free.push(id);
                        model.rests.push((device, id, now + QUARANTINE));
                    }
                    Step::Advance(by) => now += Duration::from_millis(by),
                    _ => {}
                }
            }
        }
    }
}
