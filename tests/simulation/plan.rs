//! What happens in one schedule: who is there, who asks what and when, and what goes wrong. A plan
//! is plain data that its seed decides, so it can be made smaller and run again.

use tower_mqtt::Qos;
use tower_mqtt::requester::OneInFlight;

use crate::random::Random;
use crate::speaks::Speaks;

/// Milliseconds since the schedule began.
pub type Millis = u64;

/// When the network does as it should again. All calls are made and all faults happen before it.
pub const QUIET: Millis = 60_000;

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// Nothing goes wrong, so that each outcome is known beforehand.
    pub calm: bool,
    pub weather: Weather,
    pub groups: Vec<Group>,
    pub calls: Vec<Call>,
    pub faults: Vec<Fault>,
}

/// What the network does to every message, in percent of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    pub lost: u64,
    pub delayed: u64,
    pub longest_delay: Millis,
    pub repeated: u64,
    pub keeps_sessions: bool,
    pub receive_maximum: Option<u16>,
}

/// Requesters and responders of one dialect.
#[derive(Debug, Clone)]
pub struct Group {
    pub speaks: Speaks,
    /// All responders serve one device, under a share name. Else each has its own.
    pub shared: bool,
    /// One memory for all of them.
    pub dedup: bool,
    /// The first requester and the first responder have one link.
    pub joint: bool,
    pub askers: Vec<Asker>,
    pub answerers: Vec<Answerer>,
}

#[derive(Debug, Clone, Copy)]
pub struct Asker {
    pub rides_through: bool,
    pub one_in_flight: Option<OneInFlight>,
    pub rest: Millis,
    pub max_in_flight: usize,
    pub retry: Option<Retry>,
    /// Messages that may wait on its link.
    pub queue: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
pub struct Retry {
    pub attempts: u32,
    pub each: Millis,
}

#[derive(Debug, Clone, Copy)]
pub struct Answerer {
    pub concurrency: usize,
    pub inline: bool,
    pub after_answer: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub at: Millis,
    pub group: usize,
    pub asker: usize,
    pub answerer: usize,
    pub act: Act,
    pub timeout: Millis,
    pub given_up_after: Option<Millis>,
    pub idempotent: bool,
    pub qos: Qos,
}

/// What its handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Answer,
    AnswerAfter(Millis),
    Never,
    Fail,
    Panic,
    PanicAfter(Millis),
    /// Says 503 and does nothing.
    Busy,
}

/// One client's link: of a requester or of a responder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Asker(usize, usize),
    Answerer(usize, usize),
}

#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub at: Millis,
    pub what: What,
}

#[derive(Debug, Clone, Copy)]
pub enum What {
    Cut {
        link: Place,
        lasts: Millis,
    },
    HoldAcknowledgements {
        lasts: Millis,
    },
    Close {
        link: Place,
    },
    /// With so much grace, and served again so much later.
    Shutdown {
        group: usize,
        answerer: usize,
        grace: Millis,
        again: Option<Millis>,
    },
    Drop {
        group: usize,
        answerer: usize,
    },
    Forge {
        call: usize,
        how: Forgery,
    },
}

/// A message that somebody else makes of one that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// The answer once more, as it was.
    AnswerAgain,
    /// The request once more, as it was.
    RequestAgain,
    /// Another's answer under an id that nobody uses.
    UnknownId,
    /// Another's answer under the right id, to where it does not belong.
    WrongTopic,
    /// Under the right id and on the right topic, and cannot be read.
    Malformed,
    /// No request: without a response topic, retained, or to be answered where it must not be.
    NoRequest,
}

const GRID: Millis = 100;

impl Plan {
    pub fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let calm = random.percent(20);
        let few_ids = random.percent(8);
        let cuts = !calm && !few_ids && random.percent(65);
        let mut weather = Weather::default();
        if !calm {
            let percent = [0, 0, 10, 30, 60];
            weather.lost = random.one_of(&percent);
            weather.delayed = random.one_of(&percent);
            weather.longest_delay = random.one_of(&[3, 100, 1500]);
            weather.repeated = if few_ids { 0 } else { random.one_of(&percent) };
            weather.keeps_sessions = random.percent(50);
        }
        weather.receive_maximum = random.maybe(25, |random| random.one_of(&[1, 2, 3]));
        let groups: Vec<Group> = (0..=random.index(3))
            .map(|number| Group::new(number == 0 && few_ids, calm, random))
            .collect();
        let calls: Vec<Call> = (0..=random.index(14)).map(|_| Call::new(&groups, random)).collect();
        let mut plan = Self { seed, calm, weather, groups, calls, faults: Vec::new() };
        let count = random.index(8);
        plan.faults = (0..count).filter_map(|_| plan.fault(cuts, few_ids, random)).collect();
        plan
    }

    fn fault(&self, cuts: bool, few_ids: bool, random: &mut Random) -> Option<Fault> {
        let at = moment(random);
        let group = random.index(self.groups.len());
        let Group { askers, answerers, .. } = &self.groups[group];
        let answerer = random.index(answerers.len());
        let asker = random.index(askers.len());
        let link = if random.percent(50) {
            Place::Asker(group, asker)
        } else {
            Place::Answerer(group, answerer)
        };
        let lasts = random.one_of(&[0, 1, 100, 700, 3000]);
        let what = match random.below(10) {
            0..=3 if cuts => What::Cut { link, lasts },
            4 if !self.calm => What::HoldAcknowledgements { lasts },
            5 if cuts && random.percent(30) => What::Close { link },
            6 if !self.calm => What::Shutdown {
                group,
                answerer,
                grace: random.one_of(&[0, 10, 500, 3000]),
                again: random.maybe(70, |random| random.one_of(&[0, 5, 100])),
            },
            7 if !self.calm && random.percent(50) => What::Drop { group, answerer },
            _ => {
                let call = random.index(self.calls.len());
                let how = random.one_of(&[
                    Forgery::AnswerAgain,
                    Forgery::RequestAgain,
                    Forgery::UnknownId,
                    Forgery::UnknownId,
                    Forgery::WrongTopic,
                    Forgery::WrongTopic,
                    Forgery::Malformed,
                    Forgery::NoRequest,
                ]);
                let again = matches!(how, Forgery::AnswerAgain | Forgery::RequestAgain);
                if again && (few_ids || self.calm) {
                    return None;
                }
                What::Forge { call, how }
            }
        };
        Some(Fault { at, what })
    }

    pub fn asker(&self, call: &Call) -> &Asker {
        &self.groups[call.group].askers[call.asker]
    }
}

/// On a grid, so that much happens at the same time.
fn moment(random: &mut Random) -> Millis {
    let late = random.percent(20);
    let grid = GRID * random.below(if late { 400 } else { 30 });
    grid + random.one_of(&[0, 0, 0, 0, 1, 2, 50])
}

impl Group {
    fn new(few_ids: bool, calm: bool, random: &mut Random) -> Self {
        let speaks = if few_ids { Speaks::FewIds } else { random.one_of(&Speaks::ALL) };
        let short = few_ids || speaks == Speaks::Tencent;
        // Two requesters do not know of each other's short ids.
        let askers = if short { 1 } else { 1 + random.index(2) };
        let answerers = 1 + random.index(3);
        let joint = speaks.is_native() && random.percent(20);
        let dedup = !few_ids && random.percent(50);
        Self {
            speaks,
            shared: speaks.can_share() && random.percent(50),
            dedup,
            joint,
            askers: (0..askers).map(|_| Asker::new(calm, random)).collect(),
            answerers: (0..answerers)
                .map(|number| Answerer::new(calm, joint && number == 0, random))
                .collect(),
        }
    }

    /// Which device a responder serves.
    pub fn device(&self, group: usize, answerer: usize) -> String {
        format!("g{group}d{}", if self.shared { 0 } else { answerer })
    }
}

impl Asker {
    fn new(calm: bool, random: &mut Random) -> Self {
        let of = [OneInFlight::PerDevice, OneInFlight::PerAddress];
        Self {
            rides_through: random.percent(50),
            one_in_flight: random.maybe(25, |random| random.one_of(&of)),
            rest: random.one_of(&[0, 100, 1000, 8000]),
            max_in_flight: random.one_of(&[1, 2, 100, 100]),
            retry: random.maybe(35, |random| Retry {
                attempts: random.one_of(&[2, 3, 5]),
                each: random.one_of(&[10, 100, 1000, 10_000]),
            }),
            queue: if calm { None } else { random.maybe(15, |random| random.one_of(&[1, 2])) },
        }
    }
}

impl Answerer {
    fn new(calm: bool, joint: bool, random: &mut Random) -> Self {
        let after_answer = !joint && random.percent(25);
        let few = !calm && random.percent(30);
        let concurrency = if few { random.one_of(&[1, 2, 3]) } else { 256 };
        Self { concurrency, inline: random.percent(30), after_answer }
    }
}

impl Call {
    fn new(groups: &[Group], random: &mut Random) -> Self {
        let group = random.index(groups.len());
        let Group { speaks, askers, answerers, .. } = &groups[group];
        let pause = random.one_of(&[1, 4, 20, 100, 300, 1000, 3000]);
        let acts = [
            Act::Answer,
            Act::Answer,
            Act::Answer,
            Act::AnswerAfter(pause),
            Act::AnswerAfter(pause),
            Act::AnswerAfter(pause),
            Act::Never,
            Act::Fail,
            Act::Panic,
            Act::PanicAfter(pause),
            Act::Busy,
        ];
        let timeout = random.one_of(speaks.timeouts());
        Self {
            at: moment(random),
            group,
            asker: random.index(askers.len()),
            answerer: random.index(answerers.len()),
            act: random.one_of(&acts),
            timeout,
            given_up_after: random.maybe(15, |random| random.one_of(&[0, 1, 50, 100, 1000])),
            idempotent: random.percent(40),
            qos: random.one_of(speaks.qualities()),
        }
    }
}
