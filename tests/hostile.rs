//! The embedded hub under hostile clients. Each attack goes on while a witness, a requester and a responder
//! on the same hub, makes its calls; what the attacker is told is asserted. What one packet does is in
//! `tests/hub/`; the table of all of them is in `src/docs/threat_model.md`.
#![cfg(feature = "ntex")]

#[path = "hostile/connecting.rs"]
mod connecting;
#[path = "hostile/impostors.rs"]
mod impostors;
#[cfg(target_os = "linux")]
#[path = "hostile/memory.rs"]
mod memory;
#[path = "hostile/ratios.rs"]
mod ratios;
#[path = "support/raw.rs"]
mod raw;
#[cfg(target_os = "linux")]
#[path = "support/resident.rs"]
mod resident;
#[path = "support/soon.rs"]
mod soon;
#[path = "hostile/table.rs"]
mod table;
#[path = "hostile/topics.rs"]
mod topics;
#[path = "hostile/traffic.rs"]
mod traffic;
#[path = "hostile/witness.rs"]
mod witness;

use std::net::SocketAddr;

use tower_mqtt::Hub;
use tower_mqtt::hub::{HubBuilder, HubLimits};

use self::raw::{Connect, Raw};
use self::soon::soon;

async fn start(builder: HubBuilder) -> (Hub, SocketAddr) {
    let hub = builder.bind("127.0.0.1:0").start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    (hub, address)
}

async fn limited(change: impl FnOnce(&mut HubLimits)) -> (Hub, SocketAddr) {
    start(Hub::builder().limits(change)).await
}

/// An MQTT 5 client without special wishes.
async fn client(address: SocketAddr, client_id: &str) -> Raw {
    Raw::connect(address, &Connect::new(client_id)).await
}
