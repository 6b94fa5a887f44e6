//! The results as text.

#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::fmt::Write;

use super::measure::Measurement;

/// A row for each candidate: medians, with the smallest and the greatest rate.
pub(crate) fn render<'a>(
    results: impl Iterator<Item = (&'static str, &'a Vec<Measurement>)>,
) -> String {
    let mut table = format!(
        "{:<42} {:>10} {:>17} {:>9} {:>9} {:>9} {:>8}\n",
        "", "requests/s", "min .. max", "p50 µs", "p99 µs", "p99.9 µs", "CPU µs"
    );
    for (name, measurements) in results {
        let column = |value: fn(&Measurement) -> f64| sorted(measurements.iter().map(value));
        let rates = column(|m| m.requests as f64 / m.seconds);
        let range = format!("{:.0} .. {:.0}", rates[0], rates[rates.len() - 1]);
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "{name:<42} {:>10.0} {range:>17} {:>9.0} {:>9.0} {:>9.0} {:>8.1}",
            median(&rates),
            median(&column(|m| m.p50_us)),
            median(&column(|m| m.p99_us)),
            median(&column(|m| m.p999_us)),
            median(&column(|m| m.cpu_us_per_request)),
        );
    }
    table
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
