//! Everything that happened in one world, and what must be true of it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tower_mqtt::{Delivery, RequestError};

/// A call that is over by so much more than its deadline is a violation. It is not about latency (a
/// machine that runs other tests as well may stand still for seconds), but about a call that nobody
/// ends: those wait for something that never comes.
pub(crate) const ALLOWANCE: Duration = Duration::from_secs(10);

/// How long a call is waited for that has not ended.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    Answered,
    /// With what belongs to another call, or to none.
    Foreign(String),
    Status(u16),
    Failed(RequestError),
    /// The caller did not want to wait any longer.
    GivenUp,
    /// It was not over [`PATIENCE`] after its deadline.
    Never,
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) pair: &'static str,
    pub(crate) start: Instant,
    pub(crate) timeout: Duration,
    pub(crate) over: Instant,
    pub(crate) end: End,
}

/// A handler began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Execution {
    pub(crate) id: u64,
    /// A process remembers nothing of those before it.
    pub(crate) process: u32,
    pub(crate) at: Instant,
}

/// What may be expected of a pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) deduplicates: bool,
    pub(crate) retries: bool,
}

#[derive(Debug)]
pub(crate) struct History {
    start: Instant,
    calls: Mutex<Vec<Call>>,
    executions: Mutex<Vec<Execution>>,
    /// Calls whose request the network has doubled, which no TCP does: one copy may be refused and
    /// the other executed.
    doubled: Mutex<HashSet<u64>>,
    /// What is wrong and has nothing to do with one call.
    wrong: Mutex<Vec<String>>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            calls: Mutex::default(),
            executions: Mutex::default(),
            doubled: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    pub(crate) fn call(&self, call: Call) {
        lock(&self.calls).push(call);
    }

    pub(crate) fn execution(&self, id: u64, process: u32) {
        lock(&self.executions).push(Execution { id, process, at: Instant::now() });
    }

    pub(crate) fn doubled(&self, id: u64) {
        lock(&self.doubled).insert(id);
    }

    pub(crate) fn wrong(&self, what: impl Into<String>) {
        lock(&self.wrong).push(what.into());
    }

    pub(crate) fn calls(&self) -> usize {
        lock(&self.calls).len()
    }

    /// How the calls ended, and by how much the slowest missed its deadline.
    pub(crate) fn summary(&self) -> String {
        let calls = lock(&self.calls);
        let mut ends: HashMap<(&str, String), usize> = HashMap::new();
        for call in &*calls {
            *ends.entry((call.pair, call.end.word())).or_default() += 1;
        }
        let mut ends: Vec<_> = ends.into_iter().collect();
        ends.sort();
        let mut text = String::new();
        for ((pair, end), count) in ends {
            let _ = writeln!(text, "    {pair:<8} {end:<28} {count}");
        }
        let latest = calls.iter().map(Call::overshoot).max().unwrap_or_default();
        let _ = writeln!(text, "    latest end: {latest:?} after the deadline");
        text
    }

    /// What is wrong, each with the history of its call.
    pub(crate) fn violations(&self, expected: impl Fn(&str) -> Expected) -> Vec<String> {
        let calls = lock(&self.calls);
        let mut executions: HashMap<u64, Vec<Execution>> = HashMap::new();
        for execution in &*lock(&self.executions) {
            executions.entry(execution.id).or_default().push(*execution);
        }
        let doubled = lock(&self.doubled);
        let mut violations = lock(&self.wrong).clone();
        for call in &*calls {
            let ran = executions.get(&call.id).map_or(&[][..], Vec::as_slice);
            let doubled = doubled.contains(&call.id);
            for what in call.wrong(ran, doubled, expected(call.pair)) {
                violations.push(format!("{what}\n{}", self.tell(call, ran, doubled)));
            }
        }
        let asked: HashSet<u64> = calls.iter().map(|call| call.id).collect();
        let invented = executions.keys().filter(|id| !asked.contains(id));
        violations.extend(invented.map(|id| format!("executed, and never asked: {id}")));
        violations
    }

    fn tell(&self, call: &Call, ran: &[Execution], doubled: bool) -> String {
        let since = |at: Instant| at.saturating_duration_since(self.start);
        let mut text = format!(
            "    call {} of {}: asked at {:?} for {:?}, over at {:?}: {:?}",
            call.id,
            call.pair,
            since(call.start),
            call.timeout,
            since(call.over),
            call.end
        );
        for execution in ran {
            let (process, at) = (execution.process, since(execution.at));
            let _ = write!(text, "\n    executed at {at:?} by process {process}");
        }
        if doubled {
            text.push_str("\n    the network has doubled its request");
        }
        text
    }
}

impl Call {
    fn overshoot(&self) -> Duration {
        self.over.saturating_duration_since(self.start + self.timeout)
    }

    fn wrong(&self, ran: &[Execution], doubled: bool, expected: Expected) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.end == End::Never {
            wrong.push("it never ended".to_owned());
        } else if self.overshoot() > ALLOWANCE {
            wrong.push(format!("it ended {:?} after its deadline", self.overshoot()));
        }
        match &self.end {
            End::Foreign(what) => wrong.push(format!("another's answer: {what}")),
            End::Answered if ran.is_empty() => wrong.push("answered, not executed".to_owned()),
            End::Status(408 | 429 | 503) => {}
            End::Status(other) => wrong.push(format!("an answer with status {other}")),
            _ => {}
        }
        if expected.deduplicates {
            let processes: HashSet<u32> = ran.iter().map(|execution| execution.process).collect();
            if processes.len() < ran.len() {
                wrong.push("executed more than once in one process".to_owned());
            }
        }
        if !doubled && !ran.is_empty() && self.says_not_executed(expected) {
            wrong.push("said to be not delivered, and executed".to_owned());
        }
        wrong
    }

    /// A retry may have been answered so while an earlier attempt is still being executed.
    fn says_not_executed(&self, expected: Expected) -> bool {
        match &self.end {
            End::Failed(error) => error.delivery() == Delivery::NotDelivered,
            End::Status(429 | 503) => !expected.retries,
            _ => false,
        }
    }
}

impl End {
    fn word(&self) -> String {
        match self {
            Self::Answered => "answered".to_owned(),
            Self::Foreign(_) => "foreign".to_owned(),
            Self::Status(code) => format!("status {code}"),
            Self::Failed(error) => format!("{} {:?}", error.kind(), error.delivery()),
            Self::GivenUp => "given up".to_owned(),
            Self::Never => "never".to_owned(),
        }
    }
}

/// Whether each kind of violation is found: a checker that finds nothing would be content with
/// anything.
///
/// # Panics
/// When it is not.
pub(crate) fn check_the_checker() {
    let start = Instant::now();
    let timeout = Duration::from_secs(1);
    let undelivered = || End::Failed(RequestError::NoResponder);
    let late = ALLOWANCE + 2 * timeout;
    let once = Expected { deduplicates: true, retries: false };
    let found = |end: End, took: Duration, ran: &[u32], expected| {
        let history = History::new();
        history.call(Call { id: 1, pair: "a", start, timeout, over: start + took, end });
        for process in ran {
            history.execution(1, *process);
        }
        history.violations(|_| expected).len()
    };
    assert_eq!(found(End::Answered, timeout, &[0], once), 0);
    assert_eq!(found(End::Answered, timeout, &[0, 1], once), 0, "two processes");
    assert_eq!(found(End::Failed(RequestError::Timeout), timeout, &[0], once), 0);
    assert_eq!(found(undelivered(), timeout, &[], once), 0);
    assert_eq!(found(End::Answered, timeout, &[], once), 1, "answered by nobody");
    assert_eq!(found(End::Answered, late, &[0], once), 1, "late");
    assert_eq!(found(End::Never, timeout, &[], once), 1, "never");
    assert_eq!(found(End::Foreign(String::new()), timeout, &[0], once), 1, "foreign");
    assert_eq!(found(End::Status(409), timeout, &[0], once), 1, "a status that nobody gives");
    assert_eq!(found(End::Answered, timeout, &[0, 0], once), 1, "twice");
    assert_eq!(found(undelivered(), timeout, &[0], once), 1, "executed");
    assert_eq!(found(End::Status(503), timeout, &[0], once), 1, "executed");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}
