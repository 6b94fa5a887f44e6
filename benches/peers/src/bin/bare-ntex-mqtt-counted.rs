//! [`bare-ntex-mqtt`](bare_ntex_mqtt) with an allocator that counts.

#[path = "bare-ntex-mqtt.rs"]
mod bare_ntex_mqtt;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> Result<(), tower_mqtt_peers::Error> {
    bare_ntex_mqtt::main()
}
