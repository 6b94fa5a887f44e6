//! What must be true of every schedule: the promises.

use tower_mqtt::{Delivery, RequestError};

use crate::forge::NOBODYS;
use crate::plan::{Act, Call, Fault, Group, Millis, Place, What};
use crate::record::{Ending, Execution, Record, Told};
use crate::shrink::NEVER;

/// Looks at everything that has happened.
pub fn check(record: &Record) {
    let told = record.lock().calls.clone();
    let calls = record.plan.calls.iter().enumerate();
    for (number, call) in calls.filter(|(_, call)| call.at != NEVER) {
        let case = Case::new(record, number, call, &told[number]);
        let wrong = case.wrong();
        for what in wrong {
            record.violation(format!("call {number}: {what}"));
        }
    }
    one_in_flight(record, &told);
}

struct Case<'a> {
    record: &'a Record,
    number: usize,
    call: &'a Call,
    group: &'a Group,
    told: &'a Told,
    begun: Option<Millis>,
    retries: bool,
}

impl<'a> Case<'a> {
    fn new(record: &'a Record, number: usize, call: &'a Call, told: &'a Told) -> Self {
        let group = &record.plan.groups[call.group];
        let retries = record.plan.asker(call).retry.is_some();
        Self { record, number, call, group, told, begun: told.begun, retries }
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        match &self.told.ended {
            None => wrong.push("it has not ended".to_owned()),
            Some((at, ending)) => {
                self.in_time(*at, ending, &mut wrong);
                self.plausible(*at, ending, &mut wrong);
                self.at_once(*at, ending, &mut wrong);
                self.delivery(ending, &mut wrong);
                if self.record.plan.calm {
                    self.as_expected(*at, ending, &mut wrong);
                }
            }
        }
        self.executions(&mut wrong);
        wrong
    }

    /// Promise 1, and that a timeout does not come early.
    fn in_time(&self, at: Millis, ending: &Ending, wrong: &mut Vec<String>) {
        let Some(begun) = self.begun else { return };
        let deadline = begun + self.call.timeout;
        if at > deadline && *ending != Ending::GivenUp {
            wrong.push(format!("it ended at {at}, after its deadline {deadline}: {ending:?}"));
        }
        let timeout = *ending == Ending::Failed(RequestError::Timeout);
        if timeout && at < deadline && !self.retries {
            wrong.push(format!("it timed out at {at}, before its deadline {deadline}"));
        }
    }

    /// Promise 2: the answer is its own, and there is a reason for each failure.
    fn plausible(&self, _: Millis, ending: &Ending, wrong: &mut Vec<String>) {
        let Self { call, group, .. } = self;
        let possible = match ending {
            Ending::GivenUp | Ending::Failed(RequestError::Timeout) => true,
            // Few ids can be guessed.
            Ending::Answered { status: 200, of: Some(NOBODYS) } => {
                group.speaks.has_few_ids() && self.has_forgeries()
            }
            Ending::Answered { status: 200, of } => {
                let answers = matches!(call.act, Act::Answer | Act::AnswerAfter(_));
                *of == Some(self.number) && answers && !self.told.executions.is_empty()
            }
            Ending::Answered { status, .. } if !group.speaks.carries_status() => {
                wrong.push(format!("{status} where no status is carried"));
                false
            }
            Ending::Answered { status: 500, .. } => {
                matches!(call.act, Act::Panic | Act::PanicAfter(_))
            }
            // What was forged as its answer is a request that cannot be read.
            Ending::Answered { status: 400, .. } => {
                self.told.misread.is_some() && group.speaks.dialect().answers_on_request_topic()
            }
            Ending::Answered { status: 404, .. } => call.act == Act::Fail,
            Ending::Answered { status: 408, .. } => group.dedup || self.has_stops(),
            Ending::Failed(RequestError::Disconnected(_)) => !self.cuts().is_empty(),
            Ending::Failed(RequestError::Closed) => {
                self.record.lock().closed.contains(&self.place())
            }
            Ending::Failed(RequestError::Overloaded) => {
                group.speaks.has_few_ids() || self.record.plan.asker(call).queue.is_some()
            }
            Ending::Failed(RequestError::NoResponder | RequestError::Rejected(_)) => {
                !self.record.plan.calm
            }
            Ending::Answered { status, .. } => *status == 503,
            Ending::Failed(_) => false,
        };
        if !possible {
            wrong.push(format!("there is no reason for {ending:?}"));
        }
    }

    /// Promise 7: without riding through, a lost connection ends what is in flight.
    fn at_once(&self, at: Millis, ending: &Ending, wrong: &mut Vec<String>) {
        let Some(begun) = self.begun else { return };
        if self.record.plan.asker(self.call).rides_through || self.retries {
            return;
        }
        let cut = self.cuts().into_iter().find(|cut| begun < *cut && *cut < at);
        if let Some(cut) = cut {
            let text = "it outlived the connection";
            wrong.push(format!("{text}, lost at {cut}, and ended at {at}: {ending:?}"));
        }
    }

    /// What was not delivered was not executed. But of a request that the network has repeated, one
    /// copy may be refused while the other is executed.
    fn delivery(&self, ending: &Ending, wrong: &mut Vec<String>) {
        let Ending::Failed(error) = ending else { return };
        let Told { executions, requests, copies, replayed, .. } = self.told;
        let executions = executions.len();
        let repeated = *replayed || *copies > requests.len();
        if error.delivery() == Delivery::NotDelivered && executions > 0 && !repeated {
            wrong.push(format!("{error:?} says not delivered, and it was executed {executions} ×"));
        }
    }

    /// Promises 3 and 4.
    fn executions(&self, wrong: &mut Vec<String>) {
        let Told { executions, requests, copies, replayed, .. } = self.told;
        for Execution { begun, deadline, ended } in executions {
            let Some(deadline) = *deadline else {
                wrong.push("it was executed without a deadline".to_owned());
                continue;
            };
            if ended.is_none_or(|ended| ended > deadline) {
                wrong.push(format!("it was executed until {ended:?}, beyond {deadline}"));
            }
            let longest = if self.group.speaks.is_native() {
                requests.iter().filter_map(|(_, left)| *left).max().unwrap_or_default()
            } else {
                millis(self.group.speaks.dialect().default_timeout())
            };
            if deadline - begun > longest {
                wrong
                    .push(format!("from {begun} to {deadline} is more than the {longest} allowed"));
            }
        }
        if let Some(begun) = self.begun {
            let deadline = begun + self.call.timeout;
            let promised = requests.iter().find(|(at, left)| {
                left.is_some_and(|left| at + left > deadline) || *at >= deadline
            });
            if let Some((at, left)) = promised {
                wrong.push(format!("at {at} it was sent with {left:?} left until {deadline}"));
            }
        }
        let times = executions.len();
        let one_id = self.group.speaks.keeps_ids() || !self.retries;
        if times > 1 && self.group.dedup && one_id {
            wrong.push(format!("it was executed {times} times, dedup or not"));
        }
        let resent = self.record.plan.weather.keeps_sessions && self.has_cuts();
        let cautious = self.retries && !self.call.idempotent && !(self.group.dedup && one_id);
        let once = self.record.plan.weather.repeated == 0 && !replayed && !resent;
        if times > 1 && cautious && once {
            wrong.push(format!("it was executed {times} times, and is not idempotent"));
        }
        if times > *copies && !replayed && !resent {
            wrong.push(format!("it was executed {times} times, and sent {copies} times"));
        }
    }

    /// Promise 5 and the rest, where nothing goes wrong.
    fn as_expected(&self, at: Millis, ending: &Ending, wrong: &mut Vec<String>) {
        let (Some(begun), None) = (self.begun, self.record.plan.asker(self.call).one_in_flight)
        else {
            return;
        };
        if self.retries || self.group.speaks.has_few_ids() {
            return;
        }
        let failure = |status| self.group.speaks.carries_status().then_some((0, status));
        let answer = match self.call.act {
            Act::Answer => Some((0, 200)),
            Act::AnswerAfter(pause) => Some((pause, 200)),
            Act::Never => None,
            Act::Fail => failure(404),
            Act::Panic => failure(500),
            Act::PanicAfter(pause) => failure(500).map(|(_, status)| (pause, status)),
            Act::Busy => failure(503),
        };
        let answer = answer.filter(|(after, _)| *after < self.call.timeout);
        let expected = match answer {
            Some((after, status)) => {
                let of = (status == 200).then_some(self.number);
                (begun + after, Ending::Answered { status, of })
            }
            None => (begun + self.call.timeout, Ending::Failed(RequestError::Timeout)),
        };
        let right = expected == (at, ending.clone());
        if !right && *ending != Ending::GivenUp {
            wrong.push(format!("{ending:?} at {at}, where {expected:?} is expected"));
        }
    }

    fn place(&self) -> Place {
        Place::Asker(self.call.group, self.call.asker)
    }

    /// When its link was lost.
    fn cuts(&self) -> Vec<Millis> {
        let cuts = &self.record.lock().cuts;
        cuts.iter().filter(|(place, _)| *place == self.place()).map(|(_, at)| *at).collect()
    }

    /// A responder that stops answers 408 to what it has cut short.
    fn has_stops(&self) -> bool {
        let stops = |fault: &Fault| {
            matches!(fault.what, What::Shutdown { .. } | What::Drop { .. } | What::Close { .. })
        };
        self.record.plan.faults.iter().any(stops)
    }

    fn has_forgeries(&self) -> bool {
        self.record.plan.faults.iter().any(|fault| matches!(fault.what, What::Forge { .. }))
    }

    fn has_cuts(&self) -> bool {
        self.record.plan.faults.iter().any(|fault| matches!(fault.what, What::Cut { .. }))
    }
}

/// Where one call at a time goes to a device, a request leaves only when the one before has ended,
/// and its answer has come or the device has rested.
fn one_in_flight(record: &Record, told: &[Told]) {
    let plan = &record.plan;
    for (number, call) in plan.calls.iter().enumerate() {
        let asker = plan.asker(call);
        if asker.one_in_flight.is_none() || asker.retry.is_some() {
            continue;
        }
        let device = |call: &Call| plan.groups[call.group].device(call.group, call.answerer);
        let before = plan.calls.iter().enumerate().filter(|(other, earlier)| {
            let same = (earlier.group, earlier.asker) == (call.group, call.asker);
            same && device(earlier) == device(call) && *other != number
        });
        for (other, _) in before {
            let first = |call: usize| told[call].requests.first().map(|(at, _)| *at);
            let (Some(sent), Some(earlier)) = (first(number), first(other)) else { continue };
            if earlier >= sent {
                continue;
            }
            let ended = told[other].ended.as_ref();
            let free = ended.is_some_and(|(at, ending)| {
                let answered = matches!(ending, Ending::Answered { .. });
                let came = told[other].answers.iter().any(|answer| *answer <= sent)
                    || told[other].misread.is_some_and(|answer| answer <= sent);
                *at <= sent && (answered || came || at + asker.rest <= sent || refused(ending))
            });
            if !free {
                record.violation(format!(
                    "call {number} left at {sent}, while call {other} had its turn: {ended:?}"
                ));
            }
        }
    }
}

/// Nothing more comes of it.
fn refused(ending: &Ending) -> bool {
    matches!(ending, Ending::Failed(error) if error.delivery() == Delivery::NotDelivered)
}

fn millis(duration: std::time::Duration) -> Millis {
    u64::try_from(duration.as_millis()).expect("a short time")
}
