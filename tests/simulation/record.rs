//! What happened: everything that is checked in the end, and the trace of one schedule.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Arguments;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tower_mqtt::RequestError;
use tower_mqtt::dialect::Message;
use tower_mqtt::link::memory::Fate;

use crate::plan::{Act, Millis, Place, Plan, QUIET};
use crate::random::Random;

pub struct Record {
    pub plan: Plan,
    begun: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
pub struct Seen {
    pub calls: Vec<Told>,
    /// When a link went down.
    pub cuts: Vec<(Place, Millis)>,
    pub closed: Vec<Place>,
    /// Handlers that exist, of each responder.
    pub alive: BTreeMap<(usize, usize), usize>,
    pub violations: Vec<String>,
    /// Which call an id on the wire is of.
    ids: HashMap<Bytes, usize>,
    lines: Option<Vec<String>>,
}

/// The story of one call.
#[derive(Default, Clone)]
pub struct Told {
    /// When it was made, and when it ended. A call that waits for its slot is not made yet.
    pub begun: Option<Millis>,
    pub ended: Option<(Millis, Ending)>,
    /// When the network took its request, with the time that it gave.
    pub requests: Vec<(Millis, Option<Millis>)>,
    /// When the network took an answer.
    pub answers: Vec<Millis>,
    /// Requests that were let through.
    pub copies: usize,
    pub replayed: bool,
    /// When something that cannot be read came under its id.
    pub misread: Option<Millis>,
    pub executions: Vec<Execution>,
    pub last_request: Option<Message>,
    pub last_answer: Option<Message>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    Answered { status: u16, of: Option<usize> },
    Failed(RequestError),
    GivenUp,
}

#[derive(Debug, Clone, Copy)]
pub struct Execution {
    pub begun: Millis,
    /// What the responder was told.
    pub deadline: Option<Millis>,
    pub ended: Option<Millis>,
}

/// On messages that no requester or responder has written.
pub const FORGED: &str = "forged";

impl Record {
    /// Time begins now.
    pub fn new(plan: Plan, traced: bool) -> Self {
        // And one more for each requester, in the end.
        let probes = plan.groups.iter().map(|group| group.askers.len()).sum::<usize>();
        let calls = vec![Told::default(); plan.calls.len() + probes];
        let lines = traced.then(Vec::new);
        let seen = Mutex::new(Seen { calls, lines, ..Seen::default() });
        Self { plan, begun: Instant::now(), seen }
    }

    pub fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics under the lock")
    }

    pub fn now(&self) -> Millis {
        self.since(Instant::now().into_std()).expect("the clock goes forward")
    }

    pub fn instant(&self, at: Millis) -> Instant {
        self.begun + Duration::from_millis(at)
    }

    fn since(&self, instant: std::time::Instant) -> Option<Millis> {
        let passed = instant.checked_duration_since(self.begun.into_std())?;
        Some(u64::try_from(passed.as_micros().div_ceil(1000)).expect("a short time"))
    }

    pub fn trace(&self, what: Arguments<'_>) {
        let now = self.now();
        if let Some(lines) = &mut self.lock().lines {
            lines.push(format!("{now:>6} {what}"));
        }
    }

    pub fn violation(&self, what: String) {
        self.trace(format_args!("VIOLATION: {what}"));
        self.lock().violations.push(what);
    }

    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    pub fn take_lines(&self) -> Vec<String> {
        self.lock().lines.take().unwrap_or_default()
    }

    /// What becomes of a message, by the seed, by whose it is, and by how many there were before.
    pub fn pass(&self, message: &Message) -> Fate {
        if message.properties.user.get(FORGED).is_some() {
            self.trace(format_args!("forged message passes"));
            return Fate::Deliver;
        }
        let now = self.now();
        let Some((call, answer)) = self.note(message, now) else { return Fate::Deliver };
        let fate = self.fate(call, answer);
        let copies = match fate {
            Fate::Lose => 0,
            Fate::Repeat(copies) => copies,
            _ => 1,
        };
        if !answer {
            self.lock().calls[call].copies += copies;
        }
        let what = if answer { "answer" } else { "request" };
        self.trace(format_args!("{what} of call {call}: {fate:?}"));
        fate
    }

    fn note(&self, message: &Message, now: Millis) -> Option<(usize, bool)> {
        let id = id_of(message);
        let mut seen = self.lock();
        let (call, answer) = match number_in(&message.payload) {
            Some(call) => (call, is_answer(&message.payload)),
            // A failure carries no payload.
            None => (*seen.ids.get(&id)?, true),
        };
        if call >= seen.calls.len() {
            return None;
        }
        let told = &mut seen.calls[call];
        if answer {
            told.answers.push(now);
            // A refusal of what was forged goes where the forgery went.
            let own = message.properties.correlation_data.is_some();
            if own || number_in(&message.payload).is_some() {
                told.last_answer = Some(message.clone());
            }
        } else {
            let left = message.properties.user.get("timeout-ms");
            told.requests.push((now, left.and_then(|left| left.parse().ok())));
            told.last_request = Some(message.clone());
            seen.ids.insert(id, call);
        }
        Some((call, answer))
    }

    fn fate(&self, call: usize, answer: bool) -> Fate {
        let weather = self.plan.weather;
        if self.now() >= QUIET {
            return Fate::Deliver;
        }
        let told = &self.lock().calls[call];
        let before = if answer { told.answers.len() } else { told.requests.len() };
        let thing = [1, call as u64, u64::from(answer), before as u64];
        let random = &mut Random::of(self.plan.seed, thing);
        match random.below(4) {
            0 if random.percent(weather.lost) => Fate::Lose,
            1 if random.percent(weather.delayed) => {
                let after = 1 + random.below(weather.longest_delay);
                Fate::Delay(Duration::from_millis(after))
            }
            2 if random.percent(weather.repeated) => Fate::Repeat(2),
            _ => Fate::Deliver,
        }
    }

    /// What the handler of a call does.
    pub fn act(&self, call: usize) -> Act {
        self.plan.calls.get(call).map_or(Act::Answer, |call| call.act)
    }
}

/// A handler that is at work. Dropped, it has ended.
pub struct AtWork {
    record: Arc<Record>,
    responder: (usize, usize),
    call: usize,
    number: usize,
}

impl AtWork {
    pub fn begin(
        record: &Arc<Record>,
        responder: (usize, usize),
        call: usize,
        deadline: Option<std::time::Instant>,
    ) -> Self {
        let (begun, (group, at)) = (record.now(), responder);
        let past = deadline.is_some_and(|deadline| deadline <= Instant::now().into_std());
        let deadline = deadline.and_then(|deadline| record.since(deadline));
        record.trace(format_args!("call {call} is executed by {group}/{at} until {deadline:?}"));
        if past {
            record.violation(format!("call {call} is executed after its deadline"));
        }
        let seen = &mut *record.lock();
        *seen.alive.entry(responder).or_default() += 1;
        let executions = &mut seen.calls[call].executions;
        executions.push(Execution { begun, deadline, ended: None });
        let number = executions.len() - 1;
        Self { record: Arc::clone(record), responder, call, number }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let ended = self.record.now();
        self.record.trace(format_args!("execution {} of call {} ends", self.number, self.call));
        let seen = &mut *self.record.lock();
        seen.calls[self.call].executions[self.number].ended = Some(ended);
        *seen.alive.entry(self.responder).or_default() -= 1;
    }
}

const CALL: &str = "\"call\":";

pub fn question(call: usize) -> String {
    format!("{{{CALL}{call}}}")
}

pub fn answer(call: usize) -> String {
    format!("{{{CALL}{call},\"by\":1}}")
}

pub fn is_answer(payload: &[u8]) -> bool {
    find(payload, b"\"by\":").is_some()
}

pub fn number_in(payload: &[u8]) -> Option<usize> {
    let digits = &payload[find(payload, CALL.as_bytes())? + CALL.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn find(payload: &[u8], what: &[u8]) -> Option<usize> {
    payload.windows(what.len()).position(|window| window == what)
}

/// What tells exchanges apart on the wire.
fn id_of(message: &Message) -> Bytes {
    if let Some(id) = &message.properties.correlation_data {
        return id.clone();
    }
    let topic = message.topic.as_str();
    let id = match topic.strip_prefix("/ext/rrpc/") {
        Some(rest) => rest.split('/').next(),
        None => topic.rsplit('/').next(),
    };
    Bytes::copy_from_slice(id.unwrap_or_default().as_bytes())
}
