//! Ids that come round again: which one to lend next.

use std::collections::VecDeque;
use std::time::Instant;

/// The numbers of one range, lent one at a time: the one that was used least recently first.
///
/// It reads no clock; whoever lends says what time it is. Every call is O(1), spread over the calls.
/// It begins without an allocation and grows to at most 2 bytes for each number that was used, and 16
/// more for each that rests.
#[derive(Debug)]
pub(crate) struct ShortIds {
    first: u16,
    last: u16,
    /// The next number that was never used, while there are such.
    next: u16,
    never_used: u32,
    /// Those that came back; the one that was used least recently in front.
    returned: VecDeque<u16>,
    /// Those that must not be used before their time, in the order in which they came.
    resting: VecDeque<(Instant, u16)>,
}

impl ShortIds {
    /// The numbers from `first` to `last`, beginning with `start` and going round.
    ///
    /// `start` is best drawn at random: after a restart, or beside another requester, an answer to
    /// an earlier request is then unlikely to meet a request with the same id.
    pub(crate) fn new(first: u16, last: u16, start: u16) -> Self {
        let never_used = u32::from(last.saturating_sub(first)) + 1;
        let (returned, resting) = (VecDeque::new(), VecDeque::new());
        Self { first, last, next: start.clamp(first, last), never_used, returned, resting }
    }

    /// Lends the number that was used least recently. `None` when all are lent or rest.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u16> {
        self.wake(now);
        if self.never_used == 0 {
            return self.returned.pop_front();
        }
        let id = self.next;
        self.never_used -= 1;
        self.next = if id == self.last { self.first } else { id + 1 };
        Some(id)
    }

    /// Takes a number back that may be lent again at once.
    pub(crate) fn give_back(&mut self, id: u16) {
        self.returned.push_back(id);
    }

    /// Takes a number back that must rest until then: its answer may still come. One that came
    /// earlier and rests longer keeps it waiting.
    pub(crate) fn quarantine(&mut self, id: u16, until: Instant) {
        self.resting.push_back((until, id));
    }

    fn wake(&mut self, now: Instant) {
        while let Some((_, id)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            self.returned.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_number_is_lent_before_one_comes_round_again() {
        let now = Instant::now();
        let mut ids = ShortIds::new(10_000, u16::MAX, 40_000);
        let mut seen = vec![false; 1 << 16];
        for n in 0..55_536_u32 {
            let id = ids.take(now).unwrap();
            assert_eq!(u32::from(id), (30_000 + n) % 55_536 + 10_000);
            assert!(!std::mem::replace(&mut seen[usize::from(id)], true));
            ids.give_back(id);
        }
        assert_eq!(ids.take(now), Some(40_000));
    }

    #[test]
    fn one_that_rests_is_not_lent_before_its_time() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut ids = ShortIds::new(7, 8, 7);
        assert_eq!((ids.take(now), ids.take(now), ids.take(now)), (Some(7), Some(8), None));
        ids.quarantine(7, later);
        ids.give_back(8);
        assert_eq!((ids.take(now), ids.take(now)), (Some(8), None));
        assert_eq!((ids.take(later), ids.take(later)), (Some(7), None));
    }

    /// Every number with its state; in the list the order of their last use.
    struct Model(Vec<(u16, State)>);

    #[derive(Clone, Copy, PartialEq, Debug)]
    enum State {
        Free,
        Lent,
        Resting(Instant),
    }

    impl Model {
        fn set(&mut self, id: u16, state: State) {
            self.0.retain(|(other, _)| *other != id);
            self.0.push((id, state));
        }

        fn take(&mut self, now: Instant) -> Option<u16> {
            let over = |state: &State| matches!(state, State::Resting(until) if *until <= now);
            while let Some(&(id, _)) = self.0.iter().find(|(_, state)| over(state)) {
                self.set(id, State::Free);
            }
            let id = self.0.iter().find(|(_, state)| *state == State::Free)?.0;
            self.set(id, State::Lent);
            Some(id)
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take,
        GiveBack(prop::sample::Index),
        Quarantine(prop::sample::Index),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => Just(Step::Take),
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
            let order = (start..100 + count).chain(100..start);
            let mut model = Model(order.map(|id| (id, State::Free)).collect());
            let mut lent = Vec::new();
            for step in steps {
                match step {
                    Step::Take => {
                        let id = ids.take(now);
                        prop_assert_eq!(id, model.take(now));
                        lent.extend(id);
                    }
                    Step::GiveBack(at) if !lent.is_empty() => {
                        let id = lent.swap_remove(at.index(lent.len()));
                        ids.give_back(id);
                        model.set(id, State::Free);
                    }
                    Step::Quarantine(at) if !lent.is_empty() => {
                        let id = lent.swap_remove(at.index(lent.len()));
                        ids.quarantine(id, now + QUARANTINE);
                        model.set(id, State::Resting(now + QUARANTINE));
                    }
                    Step::Advance(by) => now += Duration::from_millis(by),
                    _ => {}
                }
            }
        }
    }
}
