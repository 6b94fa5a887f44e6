//! Devices on the hub: what an idle one costs, and one call to each of them.

#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use closed_loop::{Error, cpu_time, current_memory};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Semaphore;
use tower::ServiceExt;
use tower_mqtt::{Hub, Request, Requester};

use super::process::Process;
use super::targets::{Targets, median};

/// Calls in flight while each device is called. The bare server has the same.
const IN_FLIGHT: usize = 256;
const ROUNDS: usize = 5;

/// 12 KB.
const IDLE_KIB: f64 = 12_000.0 / 1024.0;

pub(crate) fn measure(counts: &[usize], targets: &mut Targets) -> Result<(), Error> {
    let peers = build_peers()?;
    println!(
        "\n| devices | KiB each, idle: hub | bare | one call to each, µs: hub | bare | ÷ | CPU µs: hub | bare | ÷ |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for &count in counts {
        // Standard streams, listener and event loops need a few.
        if count + 100 > file_limit()? {
            println!("| {count} | skipped: the limit of open files is {} |||||||", file_limit()?);
            continue;
        }
        let mut hub = Server::start(Process::role(&["hub"])?, &peers, count)?;
        let bare = Process::start(&peers.join("bare-hub"), &[])?;
        let mut bare = Server::start(bare, &peers, count)?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push((hub.call_each(count)?, bare.call_each(count)?));
        }
        let of = |figure: fn(&(Called, Called)) -> f64| median(rounds.iter().map(figure).collect());
        let slower = of(|(hub, bare)| hub.micros / bare.micros)?;
        println!(
            "| {count} | {:.1} | {:.1} | {:.1} | {:.1} | {slower:.2} | {:.1} | {:.1} | {:.2} |",
            hub.kib_each,
            bare.kib_each,
            of(|(hub, _)| hub.micros)?,
            of(|(_, bare)| bare.micros)?,
            of(|(hub, _)| hub.cpu_micros)?,
            of(|(_, bare)| bare.cpu_micros)?,
            of(|(hub, bare)| hub.cpu_micros / bare.cpu_micros)?,
        );
        if count == 10_000 {
            targets.check("idle device on the hub, KiB (12 KB), 10,000", hub.kib_each, IDLE_KIB);
            targets.check("one call to each of 10,000 devices, time ÷ bare", slower, 1.4);
        }
    }
    println!(
        "\nMemory and CPU of the server's process alone. {IN_FLIGHT} calls in flight. Medians of {ROUNDS} rounds."
    );
    Ok(())
}

/// A server, and its devices.
struct Server {
    process: Process,
    _devices: Process,
    /// What it has grown by for each device.
    kib_each: f64,
}

/// What one call took.
struct Called {
    micros: f64,
    cpu_micros: f64,
}

impl Server {
    fn start(mut process: Process, peers: &Path, count: usize) -> Result<Self, Error> {
        let address = process.line()?;
        let before = current_memory(process.id())?;
        let count_text = count.to_string();
        let arguments = ["devices", "--address", &address, "--count", &count_text];
        let mut devices = Process::start(&peers.join("bare-ntex-mqtt"), &arguments)?;
        devices.line()?;
        let grown = current_memory(process.id())?.saturating_sub(before);
        Ok(Self { process, _devices: devices, kib_each: grown as f64 / count as f64 })
    }

    /// Calls each of its devices once.
    fn call_each(&mut self, count: usize) -> Result<Called, Error> {
        let cpu = cpu_time(self.process.id())?;
        let seconds: f64 = self.process.tell(&count.to_string())?.parse()?;
        let cpu = cpu_time(self.process.id())?.saturating_sub(cpu);
        let each = |seconds: f64| seconds * 1e6 / count as f64;
        Ok(Called { micros: each(seconds), cpu_micros: each(cpu.as_secs_f64()) })
    }
}

/// The bare server, and the devices: plain ntex-mqtt clients, one thread for all of them. Returns
/// the folder.
fn build_peers() -> Result<PathBuf, Error> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--bin", "bare-ntex-mqtt", "--bin", "bare-hub"])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(package.join("target"))
        .status()?;
    if !status.success() {
        return Err("the peers do not build".into());
    }
    Ok(package.join("target/release"))
}

/// Of this process, which its children inherit.
fn file_limit() -> Result<usize, Error> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft.and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX))
}

/// Writes its address. For each line, a number of devices, it calls each of them once, and writes
/// how many seconds that took.
pub(crate) async fn hub() -> Result<(), Error> {
    let hub = Hub::builder().bind("127.0.0.1:0").start().await?;
    println!("mqtt://{}", hub.local_addr().ok_or("the hub listens nowhere")?);
    let requester = Requester::builder(hub.link("caller")).build().await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let start = Instant::now();
        call_each(&requester, line.parse()?).await?;
        println!("{}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

async fn call_each(requester: &Requester, count: usize) -> Result<(), Error> {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..count {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let request = Request::new(format!("devices/{number}/echo"), vec![b'x'; 64])?;
        let requester = requester.clone();
        calls.spawn(async move {
            let response = requester.oneshot(request).await;
            drop(slot);
            response
        });
    }
    while let Some(response) = calls.join_next().await {
        response??.error_for_status()?;
    }
    Ok(())
}
