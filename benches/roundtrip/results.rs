//! A whole run, as it is written to `roundtrip.json`.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use closed_loop::{Error, Measurement};
use serde::Serialize;

use super::candidates::Candidate;
use super::plot;

#[derive(Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) blocks: Vec<Block>,
}

/// When and where. Only numbers of one run are comparable.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Of the minute before the run: what else was running.
    pub(crate) load_average: String,
}

/// All candidates under one load.
#[derive(Serialize)]
pub(crate) struct Block {
    pub(crate) in_flight: usize,
    pub(crate) payload: usize,
    pub(crate) rows: Vec<Row>,
}

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Of the requester, and of the responder.
    pub(crate) threads: &'static str,
    /// One for each round, unless it failed.
    pub(crate) measurements: Vec<Option<Measurement>>,
    /// Of the requester, for each request, where it is known.
    pub(crate) allocations: Option<f64>,
}

impl Results {
    pub(crate) fn new(rounds: usize, seconds: f64) -> Self {
        Self { machine: Machine::this(), rounds, seconds, blocks: Vec::new() }
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<(), Error> {
        fs::create_dir_all(directory)?;
        let json = serde_json::to_string_pretty(self)?;
        fs::write(directory.join("roundtrip.json"), json + "\n")?;
        fs::write(directory.join("roundtrip.svg"), plot::draw(self))?;
        Ok(())
    }

    pub(crate) fn row(&self, name: &str, in_flight: usize, payload: usize) -> Option<&Row> {
        let block = |b: &&Block| b.in_flight == in_flight && b.payload == payload;
        self.blocks.iter().find(block)?.rows.iter().find(|row| row.name == name)
    }
}

impl Machine {
    fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            cpu: cpu.trim_start_matches([' ', '\t', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

impl Row {
    pub(crate) fn new(candidate: &Candidate) -> Self {
        Self {
            name: candidate.name,
            threads: candidate.threads(),
            measurements: Vec::new(),
            allocations: None,
        }
    }

    /// The rounds that did not fail, sorted by this figure.
    pub(crate) fn sorted(&self, figure: impl Fn(&Measurement) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self.measurements.iter().flatten().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    pub(crate) fn median(&self, figure: impl Fn(&Measurement) -> f64) -> Option<f64> {
        median(&self.sorted(figure))
    }
}

pub(crate) fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn rate(measurement: &Measurement) -> f64 {
    measurement.requests as f64 / measurement.seconds
}
