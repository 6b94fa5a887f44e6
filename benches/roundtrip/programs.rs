//! Where the programs of the candidates are. What is missing is left out, and said.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use closed_loop::Error;
use serde_json::Value;

use super::candidates::{self, Candidate, Program};

pub(crate) struct Programs {
    ours: PathBuf,
    /// Ours with an allocator that counts.
    ours_counted: Option<PathBuf>,
    peers: PathBuf,
}

impl Programs {
    /// Builds the peers, unless only ours are measured.
    pub(crate) fn build(candidates: &[Candidate]) -> Result<Self, Error> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
        if candidates.iter().any(|candidate| candidate.program != Program::Ours) {
            build_peers(&package)?;
        }
        Ok(Self {
            ours: env::current_exe()?,
            ours_counted: build_counted(),
            peers: package.join("target/release"),
        })
    }

    /// Says so when it cannot.
    pub(crate) fn can_run(&self, candidate: &Candidate) -> bool {
        let has_layers = cfg!(all(feature = "auth", feature = "metrics"));
        let missing = match candidate.path {
            _ if !self.path(candidate).exists() => "it was not built",
            _ if !has_layers && candidate.ask.contains(&"--layers") => "needs --all-features",
            candidates::Path::Mosquitto(_) if !is_installed(mosquitto()) => "needs mosquitto",
            candidates::Path::NatsServer if !is_installed("nats-server") => "needs nats-server",
            _ => return true,
        };
        eprintln!("skipped: {}: {missing}", candidate.name);
        false
    }

    pub(crate) fn path(&self, candidate: &Candidate) -> PathBuf {
        match candidate.program {
            Program::Ours => self.ours.clone(),
            Program::Peer(name) => self.peers.join(name),
        }
    }

    /// The same with an allocator that counts, where there is such a program.
    pub(crate) fn counted(&self, candidate: &Candidate) -> Option<PathBuf> {
        let path = match candidate.program {
            Program::Ours => self.ours_counted.clone()?,
            Program::Peer(name) => self.peers.join(format!("{name}-counted")),
        };
        path.exists().then_some(path)
    }
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// One that does not build leaves the others.
fn build_peers(package: &Path) -> Result<(), Error> {
    eprintln!("building the peers in benches/peers");
    let status = cargo()
        .args(["build", "--release", "--quiet", "--bins", "--keep-going", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(package.join("target"))
        .status()?;
    if !status.success() {
        eprintln!("some of the peers do not build; those that do are measured");
    }
    Ok(())
}

/// Builds `counted.rs` with the features of this program, and says where it is.
fn build_counted() -> Option<PathBuf> {
    let features = ["auth", "metrics"];
    let enabled = [cfg!(feature = "auth"), cfg!(feature = "metrics")];
    let features: Vec<_> =
        features.into_iter().zip(enabled).filter(|(_, on)| *on).map(|(name, _)| name).collect();
    let output = cargo()
        .args(["bench", "--bench", "roundtrip-counted", "--no-run", "--quiet"])
        .args(["--message-format", "json", "--features", &features.join(",")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    let messages = std::str::from_utf8(&output.stdout).ok()?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = messages.into_iter().find_map(|message| {
        let is_it = message["target"]["name"] == "roundtrip-counted";
        is_it.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    });
    if executable.is_none() {
        eprintln!("allocations are not counted: that program does not build");
    }
    executable
}

fn is_installed(program: &str) -> bool {
    let mut help = Command::new(program);
    help.arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Debian puts it where only root's PATH looks.
pub(crate) fn mosquitto() -> &'static str {
    if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" }
}
