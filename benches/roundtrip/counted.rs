//! The same program with an allocator that counts. The round trips are measured without it, because
//! counting costs: its counters are shared by all threads.

#[path = "main.rs"]
mod roundtrip;

use std::alloc::System;
use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    roundtrip::main()
}
