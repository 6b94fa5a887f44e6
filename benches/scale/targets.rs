//! What the figures have to be at most, in a table of its own.

use closed_loop::Error;

/// Those that were measured at the size that they are for.
#[derive(Default)]
pub(crate) struct Targets(Vec<Target>);

struct Target {
    what: &'static str,
    is: f64,
    at_most: f64,
}

impl Targets {
    pub(crate) fn check(&mut self, what: &'static str, is: f64, at_most: f64) {
        self.0.push(Target { what, is, at_most });
    }

    /// Writes a Markdown table.
    pub(crate) fn print(&self) {
        if self.0.is_empty() {
            return;
        }
        println!("\n| | is | target | |\n|---|--:|--:|---|");
        for Target { what, is, at_most } in &self.0 {
            let met = if is <= at_most { "met" } else { "not met" };
            println!("| {what} | {is:.2} | ≤ {at_most:.2} | {met} |");
        }
    }
}

/// Of an odd number of rounds the one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Result<f64, Error> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().ok_or_else(|| "nothing was measured".into())
}
