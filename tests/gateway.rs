//! The gateway: servers of every kind call devices of every kind.
#![cfg(feature = "gateway")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/programs.rs"]
mod programs;
#[path = "support/raw.rs"]
mod raw;

#[path = "gateway/access.rs"]
mod access;
#[path = "gateway/broker.rs"]
mod broker;
#[path = "gateway/cluster.rs"]
mod cluster;
#[path = "gateway/content.rs"]
mod content;
#[path = "gateway/devices.rs"]
mod devices;
#[path = "gateway/disabled.rs"]
mod disabled;
#[path = "gateway/explorer.rs"]
mod explorer;
#[path = "gateway/hang_up.rs"]
mod hang_up;
#[path = "gateway/http.rs"]
mod http;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/matrix.rs"]
mod matrix;
#[path = "gateway/mqtt_servers.rs"]
mod mqtt_servers;
#[path = "gateway/nonces.rs"]
mod nonces;
#[path = "gateway/publications.rs"]
mod publications;
#[cfg(unix)]
#[path = "gateway/restart.rs"]
mod restart;
#[path = "gateway/running.rs"]
mod running;
#[cfg(unix)]
#[path = "gateway/secrets.rs"]
mod secrets;
#[path = "gateway/servers.rs"]
mod servers;
#[path = "gateway/signing.rs"]
mod signing;
#[path = "gateway/tls.rs"]
mod tls;
#[path = "gateway/vendor_devices.rs"]
mod vendor_devices;
