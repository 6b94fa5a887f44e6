//! What processes have used, from procfs (Linux).

use std::fs;
use std::time::{Duration, Instant};

use crate::{Error, Load};

/// A moment in the life of all processes of a measurement.
pub(crate) struct Snapshot {
    pub(crate) time: Instant,
    pub(crate) requester: Process,
    pub(crate) responder: Option<Process>,
    pub(crate) broker: Option<Process>,
    /// None, unless the program's allocator is `stats_alloc`'s.
    pub(crate) allocations: usize,
}

pub(crate) struct Process {
    pub(crate) cpu: Duration,
    pub(crate) peak_kib: u64,
}

impl Snapshot {
    pub(crate) fn take(load: &Load) -> Result<Self, Error> {
        let allocator = stats_alloc::INSTRUMENTED_SYSTEM.stats();
        Ok(Self {
            time: Instant::now(),
            requester: Process::look_at(std::process::id())?,
            responder: load.responder_pid.map(Process::look_at).transpose()?,
            broker: load.broker_pid.map(Process::look_at).transpose()?,
            allocations: allocator.allocations + allocator.reallocations,
        })
    }
}

impl Process {
    fn look_at(pid: u32) -> Result<Self, Error> {
        Ok(Self { cpu: cpu_time(pid)?, peak_kib: peak_memory(pid)? })
    }
}

/// Processor time that a process has used, in hundredths of a second.
///
/// # Errors
/// There is no such process, or no procfs.
pub fn cpu_time(pid: u32) -> Result<Duration, Error> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // utime and stime are fields 14 and 15, and the state behind the name is field 3.
    let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// The most resident memory that a process ever had, in KiB.
///
/// # Errors
/// There is no such process, or no procfs.
pub fn peak_memory(pid: u32) -> Result<u64, Error> {
    memory(pid, "VmHWM:")
}

/// The resident memory that a process has now, in KiB.
///
/// # Errors
/// There is no such process, or no procfs.
pub fn current_memory(pid: u32) -> Result<u64, Error> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> Result<u64, Error> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("a process without memory")?.parse()?)
}
