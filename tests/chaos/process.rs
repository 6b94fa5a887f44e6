//! This process and others, as the operating system sees them.

use std::fs;

use rustix::process::{Pid, kill_process};

pub(crate) use rustix::process::Signal;

pub(crate) fn signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Resources {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
}

impl Resources {
    pub(crate) fn now() -> Self {
        let count = |directory| fs::read_dir(directory).expect("Linux").count();
        Self { threads: count("/proc/self/task"), descriptors: count("/proc/self/fd") }
    }

    pub(crate) fn within(self, bound: Self) -> bool {
        self.threads <= bound.threads && self.descriptors <= bound.descriptors
    }
}

/// Memory of this process that is in RAM, in KiB.
pub(crate) fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
