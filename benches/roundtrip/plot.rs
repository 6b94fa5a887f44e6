//! A bar chart of the run: requests per second, with the range over the rounds.

#![expect(clippy::cast_precision_loss, reason = "a chart has few rows")]

use std::fmt::Write;

use super::results::{Block, Results, Row, rate};

const LABELS: f64 = 320.0;
const BARS: f64 = 420.0;
const NUMBERS: f64 = 80.0;
const LINE: f64 = 20.0;
const HEAD: f64 = 44.0;

/// An SVG document. It shows 64 in flight, or what was measured first.
pub(crate) fn draw(results: &Results) -> String {
    let usual = |block: &&Block| block.in_flight == 64 && block.payload == 64;
    let Some(block) = results.blocks.iter().find(usual).or(results.blocks.first()) else {
        return String::new();
    };
    let most = block.rows.iter().filter_map(|row| row.sorted(rate).last().copied());
    let scale = BARS / most.fold(1.0, f64::max);
    let (width, height) = (LABELS + BARS + NUMBERS, HEAD + LINE * (block.rows.len() as f64 + 1.0));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\">Round trips per second, {} in flight, {} B</text>\n",
        block.in_flight, block.payload,
    );
    for (line, row) in block.rows.iter().enumerate() {
        bar(&mut svg, row, HEAD + LINE * line as f64, scale);
    }
    let machine = &results.machine;
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<text x=\"12\" y=\"{}\" font-size=\"10\" fill=\"#777\">{}, {} cores, {}, load average \
         {} before; median, min and max of {} rounds</text>\n</svg>",
        height - 8.0,
        machine.cpu,
        machine.cores,
        machine.date,
        machine.load_average,
        results.rounds,
    );
    svg
}

fn bar(svg: &mut String, row: &Row, top: f64, scale: f64) {
    let rates = row.sorted(rate);
    let (Some(median), Some(least), Some(most)) = (row.median(rate), rates.first(), rates.last())
    else {
        return;
    };
    let color = if row.name.starts_with("tower-mqtt") { "#2f6fb0" } else { "#b8b8b8" };
    let (length, baseline, middle) = (median * scale, top + 12.0, top + 8.0);
    let (from, to) = (LABELS + least * scale, LABELS + most * scale);
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{baseline:.0}\" text-anchor=\"end\">{}</text>\n\
         <rect x=\"{LABELS}\" y=\"{top:.0}\" width=\"{length:.1}\" height=\"16\" fill=\"{color}\"/>\n\
         <path d=\"M{from:.1} {middle:.0}H{to:.1}\" stroke=\"#333\"/>\n\
         <text x=\"{:.1}\" y=\"{baseline:.0}\">{median:.0}</text>",
        LABELS - 8.0,
        row.name,
        to + 6.0,
    );
}
