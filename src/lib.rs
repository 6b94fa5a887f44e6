//! MQTT 5.0 request-response as tower services.

pub mod core;
