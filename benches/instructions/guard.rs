//! Compares what was counted with what is expected.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use serde_json::Value;

use crate::cases::TIMES;

/// Set for the process that counts: how the runner reports.
pub(crate) const COUNTING: &str = "GUNGRAUN_OUTPUT_FORMAT";
/// What the runner says first to a process that is one case.
pub(crate) const CASE: &str = "--gungraun-run";

const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/expected.json");
const ACCEPT: &str = "cargo bench --profile instructions --no-default-features --features json \
                      --bench instructions -- --accept";
/// How much more is no regression: the keys of hash tables are random.
const TOLERANCE_PERCENT: f64 = 3.0;

/// Instructions by case.
type Counts = BTreeMap<String, u64>;

pub(crate) fn run(accept: bool) -> ExitCode {
    let done = count().and_then(|counts| if accept { write(&counts) } else { check(&counts) });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(counts: &Counts) -> Result<(), String> {
    let text = serde_json::to_string_pretty(counts).map_err(|error| error.to_string())?;
    fs::write(EXPECTED, text + "\n").map_err(|error| format!("{EXPECTED}: {error}"))?;
    println!("{} counts are written to {EXPECTED}", counts.len());
    Ok(())
}

fn check(counts: &Counts) -> Result<(), String> {
    let text = fs::read_to_string(EXPECTED).map_err(|error| format!("{EXPECTED}: {error}"))?;
    let expected: Counts =
        serde_json::from_str(&text).map_err(|error| format!("{EXPECTED}: {error}"))?;
    let mut wrong: Vec<String> = expected
        .keys()
        .filter(|case| !counts.contains_key(*case))
        .map(|case| format!("{case} is expected and was not counted"))
        .collect();
    println!("{:28} {:>9} {:>9} {:>8}", "instructions", "expected", "counted", "");
    for (case, &counted) in counts {
        let Some(&expected) = expected.get(case) else {
            wrong.push(format!("{case} was counted and is not expected"));
            continue;
        };
        let more = percent_more(counted, expected);
        println!("{case:28} {expected:>9} {counted:>9} {more:>+7.1}%");
        if more > TOLERANCE_PERCENT {
            wrong.push(format!("{case} takes {counted} instructions, {more:.1} % more"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}\n{TOLERANCE_PERCENT} % more is allowed. If the new numbers are right, accept them and \
         say why in the commit:\n    {ACCEPT}",
        wrong.join("\n")
    ))
}

#[expect(clippy::cast_precision_loss, reason = "there are not 2^52 instructions in a case")]
fn percent_more(counted: u64, expected: u64) -> f64 {
    (counted as f64 / expected as f64 - 1.0) * 100.0
}

/// Runs this program again under the runner, which runs each case under Valgrind.
fn count() -> Result<Counts, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .arg("--bench")
        .env(COUNTING, "json")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("the cases could not be counted: {}\n{text}", output.status));
    }
    let counts = text.lines().map(read).collect::<Result<Counts, String>>()?;
    if counts.is_empty() { Err("nothing was counted".to_owned()) } else { Ok(counts) }
}

/// Reads the runner's report of one case.
fn read(line: &str) -> Result<(String, u64), String> {
    let report: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    let name = report["function_name"].as_str().unwrap_or_default();
    let id = report["id"].as_str().unwrap_or_default();
    let total = report.pointer("/profiles/0/data/total/metrics/Ir/values/new");
    let total = total.and_then(Value::as_u64);
    let total = total.ok_or_else(|| format!("there is no count of instructions in: {line}"))?;
    Ok((format!("{name}, {id}"), total / TIMES as u64))
}
