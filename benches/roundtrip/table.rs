//! A block of results as a Markdown table.

#![expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 KiB")]

use std::fmt::Write;

use closed_loop::{Measurement, Usage};

use super::results::{Block, Row, rate};

const HEAD: &str = "| | threads | requests/s | min .. max | p50 µs | p99 µs | p99.9 µs | CPU µs \
                    | peak MiB | allocs |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";

/// A row for each candidate: medians, with the smallest and the greatest rate. CPU and memory are
/// those of the requester, the broker if there is one, and the responder.
pub(crate) fn render(block: &Block, rounds: usize) -> String {
    let Block { in_flight, payload, rows } = block;
    let mut table = format!("\n{in_flight} in flight, {payload} B, {rounds} rounds\n\n{HEAD}");
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {} | {} | {} |", row.name, row.threads, cells(row));
    }
    table
}

fn cells(row: &Row) -> String {
    let rates = row.sorted(rate);
    let (Some(least), Some(most)) = (rates.first(), rates.last()) else {
        return "failed".to_owned();
    };
    let median = |figure: fn(&Measurement) -> f64| row.median(figure).unwrap_or_default();
    format!(
        "{:.0} | {least:.0} .. {most:.0} | {:.0} | {:.0} | {:.0} | {} | {} | {}",
        median(rate),
        median(|m| m.p50_us),
        median(|m| m.p99_us),
        median(|m| m.p999_us),
        of_each(row, 1, |usage| usage.cpu_us_per_request),
        of_each(row, 0, |usage| usage.peak_kib as f64 / 1024.0),
        row.allocations.map_or_else(String::new, |count| format!("{count:.1}")),
    )
}

/// A figure of all processes: `1.2 + 3.4 + 5.6`.
fn of_each(row: &Row, digits: usize, figure: impl Fn(&Usage) -> f64) -> String {
    let processes: [fn(&Measurement) -> Option<&Usage>; 3] =
        [|m| Some(&m.requester), |m| m.broker.as_ref(), |m| m.responder.as_ref()];
    let exists = |process: &fn(&Measurement) -> Option<&Usage>| {
        row.measurements.iter().flatten().all(|m| process(m).is_some())
    };
    let figures = processes
        .into_iter()
        .filter(exists)
        .filter_map(|process| row.median(|m| process(m).map_or(f64::NAN, &figure)));
    figures.map(|value| format!("{value:.digits$}")).collect::<Vec<_>>().join(" + ")
}
