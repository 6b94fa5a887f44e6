//! What happens on one link for a while.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tower_mqtt::test_util::{Chunks, Conditions, Cut, Direction, Fault, FaultProxy, Kind, Packets};

use super::history::History;
use super::question::{chosen, id_in};
use super::random::Random;

#[derive(Debug, Clone)]
pub(crate) enum Weather {
    Cut(Cut),
    /// Half-open, in one direction or both.
    Blackhole(&'static [Direction]),
    Pause(Direction),
    Refuse(Cut),
    Slow(Direction, Conditions),
    /// Something becomes of some acknowledgements.
    Acknowledgements(Direction, Fault, u32),
    /// Something becomes of requests and answers, chosen by the ids of their calls.
    Messages {
        direction: Direction,
        fault: Fault,
        one_in: u64,
        salt: u64,
    },
    /// The connection is lost before or behind a message.
    CutAt {
        direction: Direction,
        fault: Fault,
        nth: u64,
    },
}

const DIRECTIONS: [Direction; 2] = Direction::BOTH;
const HOLES: [&[Direction]; 3] = [&[Direction::ToServer], &[Direction::ToClient], &Direction::BOTH];

impl Weather {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let direction = random.pick(&DIRECTIONS);
        let cut = random.pick(&[Cut::Reset, Cut::Close]);
        match random.between(0..=13) {
            0 | 1 => Self::Cut(cut),
            2 => Self::Blackhole(random.pick(&HOLES)),
            3 => Self::Pause(direction),
            4 => Self::Refuse(cut),
            5 | 6 => Self::Slow(direction, conditions(random)),
            7 | 8 => {
                let faults = [Fault::Lose, Fault::Repeat(2), Fault::Hold];
                Self::Acknowledgements(direction, among(random, &faults), 2 + below(random, 4))
            }
            9..=11 => {
                let later = Fault::Delay(random.millis(1..=400));
                let other = Fault::HoldUntil(Packets::on(direction).kind(Kind::Publish));
                let faults = [Fault::Lose, Fault::Repeat(2), Fault::Hold, later, other];
                let (fault, one_in) = (among(random, &faults), random.between(2..=6));
                Self::Messages { direction, fault, one_in, salt: random.next() }
            }
            _ => {
                let fault = random.pick(&[true, false]);
                let fault = if fault { Fault::Cut(cut) } else { Fault::CutAfter(cut) };
                Self::CutAt { direction, fault, nth: random.between(1..=5) }
            }
        }
    }

    /// It lasts until [`FaultProxy::heal`].
    pub(crate) fn begin(&self, proxy: &FaultProxy, history: &Arc<History>) {
        match self {
            Self::Cut(how) => proxy.cut_all(*how),
            Self::Blackhole(directions) => {
                directions.iter().for_each(|direction| proxy.blackhole(*direction));
            }
            Self::Pause(direction) => proxy.pause(*direction),
            Self::Refuse(how) => {
                proxy.refuse(true);
                proxy.cut_all(*how);
            }
            Self::Slow(direction, conditions) => proxy.conditions(*direction, *conditions),
            Self::Acknowledgements(direction, fault, n) => {
                let packets = Packets::on(*direction).kind(Kind::PubAck).one_in(*n);
                proxy.rule(packets, fault.clone());
            }
            Self::Messages { direction, fault, one_in, salt } => {
                let (one_in, salt, history) = (*one_in, *salt, Arc::clone(history));
                let doubles = matches!(fault, Fault::Repeat(_));
                let packets = Packets::on(*direction).kind(Kind::Publish).matching(move |packet| {
                    let id = id_in(&packet.payload).filter(|id| chosen(*id, salt, one_in));
                    if let Some(id) = id.filter(|_| doubles) {
                        history.doubled(id);
                    }
                    id.is_some()
                });
                proxy.rule(packets, fault.clone());
            }
            Self::CutAt { direction, fault, nth } => {
                let packets = Packets::on(*direction).kind(Kind::Publish).nth(*nth);
                proxy.rule(packets, fault.clone());
            }
        }
    }
}

fn conditions(random: &mut Random) -> Conditions {
    let chunks = match random.between(0..=2) {
        0 => Chunks::Packets,
        1 => Chunks::Split(usize::from(random.pick(&[1_u8, 7, 100]))),
        _ => Chunks::Join { bytes: 2_000, within: random.millis(1..=100) },
    };
    let rate = random.between(20_000..=200_000);
    Conditions {
        latency: random.millis(0..=150),
        jitter: random.millis(0..=150),
        bytes_per_second: u32::try_from(rate).ok().and_then(NonZeroU32::new),
        chunks,
    }
}

fn below(random: &mut Random, n: u64) -> u32 {
    u32::try_from(random.next() % n).expect("small")
}

fn among(random: &mut Random, faults: &[Fault]) -> Fault {
    let index = below(random, faults.len() as u64);
    faults[index as usize].clone()
}

/// How long it lasts.
pub(crate) fn duration(random: &mut Random) -> Duration {
    if random.one_in(6) { random.millis(1_500..=3_000) } else { random.millis(20..=700) }
}
