//! Makes a plan that fails smaller, as long as it goes on failing.

use crate::plan::{Plan, Weather};
use crate::violations;

/// The smallest plan that was found.
pub fn shrink(mut plan: Plan) -> Plan {
    loop {
        let fails = |smaller: &Plan| !violations(smaller).is_empty();
        let Some(smaller) = smaller(&plan).find(fails) else { return plan };
        plan = smaller;
    }
}

/// The plan with one thing less.
fn smaller(plan: &Plan) -> impl Iterator<Item = Plan> {
    let faults = (0..plan.faults.len()).map(|at| {
        let mut smaller = plan.clone();
        smaller.faults.remove(at);
        smaller
    });
    let calls = (0..plan.calls.len()).filter(|at| plan.calls[*at].at != NEVER).map(|at| {
        let mut smaller = plan.clone();
        smaller.calls[at].at = NEVER;
        smaller
    });
    let weather = weathers(plan.weather).map(|weather| Plan { weather, ..plan.clone() });
    faults.chain(calls).chain(weather)
}

/// When a call is made that is not made: the numbers of the others stay.
pub const NEVER: u64 = u64::MAX;

fn weathers(weather: Weather) -> impl Iterator<Item = Weather> {
    let fewer = [
        Weather { lost: 0, ..weather },
        Weather { delayed: 0, ..weather },
        Weather { repeated: 0, ..weather },
        Weather { receive_maximum: None, ..weather },
        Weather { keeps_sessions: false, ..weather },
    ];
    fewer.into_iter().filter(move |fewer| *fewer != weather)
}
