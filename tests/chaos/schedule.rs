//! What happens when: decided by the seed alone, before anything runs.

use std::time::Duration;

use super::broker::Kind;
use super::random::Random;
use super::weather::{self, Weather};

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) action: Action,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// On the link of this station.
    Weather(usize, Weather),
    Clear(usize),
    /// Somebody else connects with the station's client identifier.
    TakeOver(usize),
    /// The station gives up its link and makes another one.
    Rebuild(usize),
    KillBroker,
    StartBroker,
    FreezeBroker,
    ThawBroker,
    KillChild,
    FreezeChild,
    ThawChild,
}

impl Action {
    /// Not when it is the end of one.
    pub(crate) fn is_fault(&self) -> bool {
        !matches!(self, Self::Clear(_) | Self::StartBroker | Self::ThawBroker | Self::ThawChild)
    }
}

/// All steps in their order.
pub(crate) fn plan(seed: u64, kind: Kind, stations: usize, length: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    for station in 0..stations {
        let mut random = Random::new(seed, &format!("{kind:?} station {station}"));
        let mut at = random.millis(100..=1_500);
        while at < length {
            let weather = Weather::draw(&mut random);
            steps.push(Step { at, action: Action::Weather(station, weather) });
            at += weather::duration(&mut random);
            steps.push(Step { at, action: Action::Clear(station) });
            at += random.millis(100..=2_000);
        }
    }
    let mut random = Random::new(seed, &format!("{kind:?} broker"));
    let mut at = random.millis(300..=2_500);
    while at < length {
        let (begin, end) = match random.between(0..=2) {
            0 if kind == Kind::Mosquitto => (Action::FreezeBroker, Action::ThawBroker),
            _ => (Action::KillBroker, Action::StartBroker),
        };
        steps.push(Step { at, action: begin });
        let long = random.one_in(4);
        at += if long { random.millis(1_000..=2_500) } else { random.millis(1..=500) };
        steps.push(Step { at, action: end });
        at += random.millis(1_000..=4_000);
    }
    let mut random = Random::new(seed, &format!("{kind:?} child"));
    let mut at = random.millis(500..=2_000);
    while at < length {
        if random.one_in(3) {
            steps.push(Step { at, action: Action::KillChild });
        } else {
            steps.push(Step { at, action: Action::FreezeChild });
            at += random.millis(50..=2_000);
            steps.push(Step { at, action: Action::ThawChild });
        }
        at += random.millis(500..=3_000);
    }
    let mut random = Random::new(seed, &format!("{kind:?} sessions"));
    let mut at = random.millis(200..=1_000);
    while at < length {
        let station = usize::try_from(random.next() % stations as u64).expect("an index");
        let take_over = random.one_in(2);
        let action = if take_over { Action::TakeOver(station) } else { Action::Rebuild(station) };
        steps.push(Step { at, action });
        at += random.millis(200..=1_500);
    }
    steps.sort_by_key(|step| step.at);
    steps
}
