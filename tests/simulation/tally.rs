//! What the schedules came to.

use std::collections::BTreeMap;

use crate::record::{Ending, Record};
use crate::shrink::NEVER;

#[derive(Default)]
pub struct Tally {
    schedules: u64,
    calls: u64,
    endings: BTreeMap<String, u64>,
    executions: u64,
    pub failed: u64,
    pub violations: u64,
}

impl Tally {
    pub fn add(&mut self, record: &Record) {
        let seen = record.lock();
        self.schedules += 1;
        let made = record.plan.calls.iter().filter(|call| call.at != NEVER).count();
        self.calls += made as u64;
        for told in &seen.calls {
            self.executions += told.executions.len() as u64;
            let ending = match &told.ended {
                Some((_, Ending::Answered { status, .. })) => status.to_string(),
                Some((_, Ending::Failed(error))) => error.kind().to_owned(),
                Some((_, Ending::GivenUp)) => "given up".to_owned(),
                None => continue,
            };
            *self.endings.entry(ending).or_default() += 1;
        }
        self.failed += u64::from(!seen.violations.is_empty());
        self.violations += seen.violations.len() as u64;
    }

    pub fn print(&self) {
        let endings: Vec<String> =
            self.endings.iter().map(|(ending, count)| format!("{ending} {count}")).collect();
        println!("executions {}; calls ended: {}", self.executions, endings.join(", "));
        let Self { schedules, calls, violations, .. } = self;
        println!("schedules {schedules} calls {calls} violations {violations}");
    }
}
