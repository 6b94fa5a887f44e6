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

/// Calls in flight while each device is called.
const IN_FLIGHT: usize = 256;

pub(crate) fn measure(counts: &[usize]) -> Result<(), Error> {
    let devices = build_devices()?;
    println!(
        "\n| devices on the hub | KiB each, idle | bare ntex-mqtt | one call to each: s | µs | CPU µs |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    for &count in counts {
        // Standard streams, listener and event loops need a few.
        if count + 100 > file_limit()? {
            println!("| {count} | skipped: the limit of open files is {} ||||", file_limit()?);
            continue;
        }
        let mut hub = Process::role(&["hub"])?;
        let (memory, process) = connect(&mut hub, &devices, count)?;
        let calls = hub.tell(&count.to_string())?;
        drop(process);
        let mut bare = Process::start(&devices, &["respond"])?;
        let (bare_memory, _process) = connect(&mut bare, &devices, count)?;
        println!("| {count} | {memory:.1} | {bare_memory:.1} | {calls}");
    }
    println!(
        "\nMemory and CPU of the server's process alone. Target: an idle device at most 11.7 KiB."
    );
    Ok(())
}

/// Connects devices to the server, and says how much it has grown by each, in KiB.
fn connect(server: &mut Process, devices: &Path, count: usize) -> Result<(f64, Process), Error> {
    let address = server.line()?;
    let before = current_memory(server.id())?;
    let count_text = count.to_string();
    let arguments = ["devices", "--address", &address, "--count", &count_text];
    let mut process = Process::start(devices, &arguments)?;
    process.line()?;
    let grown = current_memory(server.id())?.saturating_sub(before);
    Ok((grown as f64 / count as f64, process))
}

/// The devices are plain ntex-mqtt clients: one thread for all of them.
fn build_devices() -> Result<PathBuf, Error> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--bin", "bare-ntex-mqtt", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(package.join("target"))
        .status()?;
    if !status.success() {
        return Err("the devices do not build".into());
    }
    Ok(package.join("target/release/bare-ntex-mqtt"))
}

/// Of this process, which its children inherit.
fn file_limit() -> Result<usize, Error> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft.and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX))
}

/// Writes its address. For each line, a number of devices, it calls each of them once.
pub(crate) async fn hub() -> Result<(), Error> {
    let hub = Hub::builder().bind("127.0.0.1:0").start().await?;
    println!("mqtt://{}", hub.local_addr().ok_or("the hub listens nowhere")?);
    let requester = Requester::builder(hub.link("caller")).build().await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let count: usize = line.parse()?;
        let (cpu, start) = (cpu_time(std::process::id())?, Instant::now());
        call_each(&requester, count).await?;
        let seconds = start.elapsed().as_secs_f64();
        let cpu = cpu_time(std::process::id())?.saturating_sub(cpu).as_secs_f64();
        let each = |seconds: f64| seconds * 1e6 / count as f64;
        println!("{seconds:.2} | {:.1} | {:.1} |", each(seconds), each(cpu));
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
