//! The platform side: servers call devices over HTTP, as they did in the vendors' clouds, and get the
//! device's answer at once, or learn why there is none.
//!
//! Servers that were written for a vendor's cloud SDK, and devices that were written for a vendor's
//! device SDK, work with it when their endpoint is changed. The program `rrpc-gateway` is this module
//! with a configuration file; here it is for those who embed it, with a
//! [store](DeviceStore) of their own for the devices' secrets. How a fleet is moved here from a vendor's
//! cloud, and what differs from it, has [a page](crate::moving_a_fleet).
//!
//! ```
//! use std::time::Duration;
//! use tower_mqtt::gateway::{Config, Gateway};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::parse(
//!     r#"
//!     [http]
//!     listen = ["127.0.0.1:0"]
//!     [mqtt]
//!     listen = ["mqtt://127.0.0.1:0"]
//!     [[keys]]
//!     id = "shop"
//!     bearer = "a token of the shop's"
//!     [[products]]
//!     id = "a1testPK001"
//!     dialect = "aliyun"
//!     devices = [{ name = "lamp", secret = "0123456789abcdef0123456789abcdef" }]
//!     "#,
//!     "gateway.toml",
//! )?;
//! let gateway = Gateway::builder(config).start().await?;
//! println!("calls go to http://{}", gateway.http_addrs()[0]);
//! gateway.shutdown(Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a call
//!
//! | a server calls with | the device gets |
//! |---|---|
//! | Aliyun's `RRpc`, `InvokeThingService` | its own dialect: a request of Aliyun's RRPC over system topics, |
//! | Tencent's `PublishRRPCMessage`, `CallDeviceRRPCSync` | over custom topics or as a thing service; of Tencent's RRPC; |
//! | `POST /v1/devices/{product}/{device}/call` | or a native request of MQTT 5 |
//! | a native request to `devices/{product}/{device}` | |
//!
//! People find a console at `/`, where they call devices and look on while calls end.
//!
//! Devices are connected to the embedded hub, where they prove who they are and reach only their own
//! topics, or to any broker, whose rules must then see to that.
//!
//! How the program is run as a service, restarted without losing a call, and watched, is in
//! [deploying](crate::deploying).

mod builder;
mod call;
mod calls;
mod cluster;
pub mod config;
mod devices;
mod ended;
mod http;
mod keys;
mod level;
mod listing;
mod mqtt;
mod products;
mod replay;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::builder::{GatewayBuilder, GatewayError};
use self::calls::Platform;
pub use self::config::Config;
pub use self::devices::{DeviceStore, Found, StoreUnavailable};
use self::http::Server;
use crate::hub::{Hub, Listening};

/// A gateway that runs. Dropping it stops it at once; [`shutdown`](Self::shutdown) is polite.
#[must_use = "a gateway stops when it is dropped"]
pub struct Gateway {
    http: Server,
    platform: Arc<Platform>,
    /// `None`: beside a broker.
    hub: Option<Hub>,
}

impl Gateway {
    /// A gateway with this configuration.
    pub fn builder(config: Config) -> GatewayBuilder {
        GatewayBuilder::new(config)
    }

    /// Where HTTP is served, in the order of [`config::Http::listen`], or of the
    /// [listeners](GatewayBuilder::http_listener) that were given.
    pub fn http_addrs(&self) -> &[SocketAddr] {
        self.http.local_addrs()
    }

    /// Where devices connect, in the order of [`config::Mqtt::listen`]; nowhere beside a broker.
    pub fn mqtt(&self) -> &[Listening] {
        self.hub.as_ref().map_or(&[], Hub::listeners)
    }

    /// The embedded hub, unless the gateway is beside a broker.
    pub fn hub(&self) -> Option<&Hub> {
        self.hub.as_ref()
    }

    /// Calls in flight at this moment, whoever made them.
    pub fn in_flight(&self) -> usize {
        self.platform.in_flight()
    }

    /// Stops accepting, lets the calls in flight end for at most `grace`, and then stops. Whoever has
    /// connected before it stopped accepting may still send one request, within a second. Other gateways of
    /// a [cluster](config::Cluster) take its devices over at once.
    ///
    /// # Cancel safety
    /// Dropping the future stops the gateway at once.
    pub async fn shutdown(self, grace: Duration) {
        let Self { http, platform, hub } = self;
        let end = tokio::time::Instant::now() + grace;
        platform.shutdown(grace, http.shutdown(grace)).await;
        if let Some(hub) = hub {
            hub.shutdown(end.saturating_duration_since(tokio::time::Instant::now())).await;
        }
    }
}

/// tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("http", &self.http_addrs())
            .field("mqtt", &self.mqtt())
            .finish_non_exhaustive()
    }
}
