//! This process and others, as the operating system sees them.

use std::fs;

use rustix::process::{Pid, kill_process};

pub(crate) use rustix::process::Signal;

use super::world::becomes;

pub(crate) fn signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
}

impl Resources {
    pub(crate) fn now() -> Self {
        let descriptors = fs::read_dir("/proc/self/fd").expect("Linux").count();
        Self { threads: thread_names().len(), descriptors }
    }

    /// What there is when nothing has come or gone in so many looks.
    pub(crate) async fn settled() -> Self {
        const LOOKS: usize = 20;
        let (mut last, mut same) = (Self::now(), 0);
        let settled = becomes(|| {
            let now = Self::now();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same == LOOKS
        });
        assert!(settled.await, "{last:?}, and still changing");
        last
    }

    pub(crate) fn within(self, bound: Self) -> bool {
        self.threads <= bound.threads && self.descriptors <= bound.descriptors
    }
}

/// Of all threads but one, which a library of ntex's starts when it needs it first, once for all.
pub(crate) fn thread_names() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").flatten();
    // One that has just ended has no name any more.
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let names = names.map(|name| name.trim().to_owned());
    let mut names: Vec<_> = names.filter(|name| name != "futures-timer").collect();
    names.sort();
    names
}
