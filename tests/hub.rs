//! The embedded hub, seen by clients that do exactly what the tests tell them.
#![cfg(feature = "ntex")]

#[path = "hub/connecting.rs"]
mod connecting;
#[path = "hub/devices.rs"]
mod devices;
#[path = "support/echo_topic.rs"]
#[allow(unreachable_pub, reason = "other test binaries see it from outside")]
mod echo_topic;
#[path = "hub/forwarding.rs"]
mod forwarding;
#[path = "hub/in_process.rs"]
mod in_process;
#[path = "hub/limits.rs"]
mod limits;
#[path = "support/raw.rs"]
mod raw;
#[path = "hub/sessions.rs"]
mod sessions;
#[path = "hub/version_3_1.rs"]
mod version_3_1;
#[path = "hub/version_5.rs"]
mod version_5;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tower_mqtt::Hub;

use self::raw::{Connect, Raw};

/// Nothing here may take longer.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens soon")
}

async fn hub(workers: usize) -> (Hub, SocketAddr) {
    let hub = Hub::builder().bind("127.0.0.1:0").workers(workers).start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    (hub, address)
}

/// An MQTT 5 client without special wishes.
async fn client(address: SocketAddr, client_id: &str) -> Raw {
    Raw::connect(address, &Connect::new(client_id)).await
}
