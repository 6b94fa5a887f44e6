#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_mqtt_fuzz::dialects::run(input));
