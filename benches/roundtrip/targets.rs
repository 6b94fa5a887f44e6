//! What the table has to show: figures of one run, divided by each other round by round.

use std::fmt::Write;

use closed_loop::{Measurement, Usage};

use super::results::{Results, Row, median, rate};

struct Target {
    what: &'static str,
    /// The fastest of them is taken.
    of: &'static [Name],
    /// In flight.
    at: usize,
    compared: Compared,
    to: &'static str,
    figure: fn(&Measurement) -> f64,
    limit: Limit,
}

type Name = &'static str;

enum Compared {
    DividedBy,
    Minus,
}

enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

const HUB: &[Name] = &["tower-mqtt, hub, QoS 0"];
const LOCAL: &[Name] = &["tower-mqtt, hub, QoS 0, inline and local"];
const BEST: &[Name] = &[
    "tower-mqtt, hub, QoS 0, inline and local",
    "tower-mqtt, hub, QoS 0, inline",
    "tower-mqtt, hub, QoS 0",
];
const MOSQUITTO: &[Name] = &["tower-mqtt, mosquitto, QoS 1"];
const AS_INSTALLED: &[Name] = &["tower-mqtt, mosquitto as installed, QoS 1"];
const BARE: Name = "bare ntex-mqtt, direct, QoS 0";
const BARE_MOSQUITTO: Name = "bare ntex-mqtt, mosquitto, QoS 1";

fn targets() -> Vec<Target> {
    use Limit::{AtLeast, AtMost};
    let rates = |what, of, at, to, limit| Target {
        what,
        of,
        at,
        compared: Compared::DividedBy,
        to,
        figure: rate,
        limit: AtLeast(limit),
    };
    vec![
        rates("hub, default ÷ bare", HUB, 64, BARE, 0.75),
        rates("hub, default ÷ bare", HUB, 256, BARE, 0.55),
        rates("hub, inline and local ÷ bare", LOCAL, 64, BARE, 0.90),
        rates("hub, inline and local ÷ bare", LOCAL, 256, BARE, 0.80),
        rates("hub, best ÷ tonic", BEST, 64, "tonic", 2.5),
        rates("hub, best ÷ async-nats", BEST, 64, "async-nats", 1.1),
        rates("hub, best ÷ tarpc", BEST, 64, "tarpc", 0.75),
        rates("mosquitto ÷ bare", MOSQUITTO, 64, BARE_MOSQUITTO, 0.90),
        Target {
            what: "mosquitto ÷ bare: requester CPU per request",
            figure: |m| m.requester.cpu_us_per_request,
            limit: AtMost(1.25),
            ..rates("", MOSQUITTO, 64, BARE_MOSQUITTO, 0.0)
        },
        rates(
            "mosquitto ÷ azure_iot_operations",
            MOSQUITTO,
            64,
            "azure_iot_operations, mosquitto, QoS 1",
            6.0,
        ),
        Target {
            what: "mosquitto as installed ÷ tuned: p50",
            figure: |m| m.p50_us,
            limit: AtMost(1.5),
            ..rates("", AS_INSTALLED, 1, MOSQUITTO[0], 0.0)
        },
        rates("mosquitto as installed ÷ tuned", AS_INSTALLED, 64, MOSQUITTO[0], 0.97),
        Target {
            what: "hub: CPU µs per request that layers add, end to end",
            compared: Compared::Minus,
            figure: cpu_of_all,
            limit: AtMost(3.0),
            ..rates("", &["tower-mqtt, hub, QoS 0, layers"], 64, HUB[0], 0.0)
        },
    ]
}

fn cpu_of_all(measurement: &Measurement) -> f64 {
    let others = [&measurement.responder, &measurement.broker];
    let others = others.into_iter().flatten();
    let all = std::iter::once(&measurement.requester).chain(others);
    all.map(|usage: &Usage| usage.cpu_us_per_request).sum()
}

/// Requests, where allocations are compared: the requester's, and how many more ours may make.
const ALLOCATIONS: [(Name, Name); 2] = [
    ("tower-mqtt, hub, QoS 0", "bare ntex-mqtt, direct, QoS 0"),
    ("tower-mqtt, mosquitto, QoS 1", "bare ntex-mqtt, mosquitto, QoS 1"),
];
const MORE_ALLOCATIONS: f64 = 3.0;

/// A Markdown table of those whose candidates were measured.
pub(crate) fn render(results: &Results) -> String {
    let mut table = String::from(
        "| median of the rounds' ratios, 64 B | in flight | is | target | |\n|---|--:|--:|--:|---|\n",
    );
    for target in targets() {
        let Some(value) = target.value(results) else { continue };
        let (sign, limit, met) = match target.limit {
            Limit::AtLeast(limit) => ('≥', limit, value >= limit),
            Limit::AtMost(limit) => ('≤', limit, value <= limit),
        };
        line(&mut table, target.what, target.at, value, sign, limit, met);
    }
    for (ours, bare) in ALLOCATIONS {
        let allocations = |name| results.row(name, 64, 64)?.allocations;
        let Some((ours_count, bare)) = allocations(ours).zip(allocations(bare)) else { continue };
        let what = format!("{ours}: allocations − bare");
        let more = ours_count - bare;
        line(&mut table, &what, 64, more, '≤', MORE_ALLOCATIONS, more <= MORE_ALLOCATIONS);
    }
    table
}

fn line(
    table: &mut String,
    what: &str,
    at: usize,
    value: f64,
    sign: char,
    limit: f64,
    is_met: bool,
) {
    let met = if is_met { "met" } else { "not met" };
    // Writing to a String cannot fail.
    let _ = writeln!(table, "| {what} | {at} | {value:.2} | {sign} {limit:.2} | {met} |");
}

impl Target {
    /// Nothing when one of the two was not measured.
    fn value(&self, results: &Results) -> Option<f64> {
        let of = self.of.iter().filter_map(|name| results.row(name, self.at, 64));
        let of = of.max_by(|a, b| a.median(rate).partial_cmp(&b.median(rate)).expect("no NaN"))?;
        let to = results.row(self.to, self.at, 64)?;
        let mut values: Vec<f64> = self.of_each_round(of, to).collect();
        values.sort_by(f64::total_cmp);
        median(&values)
    }

    fn of_each_round(&self, of: &Row, to: &Row) -> impl Iterator<Item = f64> {
        let rounds = of.measurements.iter().zip(&to.measurements);
        rounds.filter_map(|(of, to)| {
            let (of, to) = ((self.figure)(of.as_ref()?), (self.figure)(to.as_ref()?));
            Some(match self.compared {
                Compared::DividedBy => of / to,
                Compared::Minus => of - to,
            })
        })
    }
}
