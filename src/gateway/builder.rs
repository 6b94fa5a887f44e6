//! How a gateway is started.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::SystemTime;
use std::{fmt, io};

use thiserror::Error;

use super::Gateway;
use super::calls::{self, Platform};
use super::config::{Config, ConfigErrors};
use super::devices::{Admission, ConfiguredDevices, DeviceStore};
use super::http::{Front, HubFigures, Server};
use super::keys::Keys;
use super::mqtt::{self, Side};
use super::products::Products;
use super::replay::Replay;
use crate::error::{ConnectError, ServeError};
use crate::hub::{Hub, HubError};
use crate::tls::ServerTlsError;

/// Starts a [`Gateway`].
#[must_use = "nothing runs before `start`"]
pub struct GatewayBuilder {
    config: Config,
    store: Option<Arc<dyn DeviceStore>>,
    http: Vec<TcpListener>,
}

impl GatewayBuilder {
    pub(super) fn new(config: Config) -> Self {
        Self { config, store: None, http: Vec::new() }
    }

    /// Where the devices' secrets come from. By default from the configuration.
    pub fn store(mut self, store: impl DeviceStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Serves HTTP on a listener that is there already; may be repeated. By default it listens on the
    /// addresses of the [configuration](super::config::Http::listen), which are not looked at then.
    ///
    /// A listener that somebody else holds as well, as systemd does for a service with a socket, outlives
    /// the gateway: who connects while one stops and the next one starts waits in its backlog, and is
    /// neither refused nor cut off.
    pub fn http_listener(mut self, listener: TcpListener) -> Self {
        self.http.push(listener);
        self
    }

    /// Listens for devices, or connects to the broker, and then serves HTTP.
    ///
    /// # Errors
    /// [`GatewayError::Config`] when something in the configuration is [not possible](Config::check),
    /// [`GatewayError::Hub`] or [`GatewayError::Http`] when an address cannot be listened on,
    /// [`GatewayError::Broker`] when the broker cannot be reached, [`GatewayError::Tls`] when a certificate
    /// cannot be used, [`GatewayError::Serve`] when the broker refuses a subscription.
    ///
    /// # Cancel safety
    /// Dropping the future stops what was started.
    pub async fn start(self) -> Result<Gateway, GatewayError> {
        let Self { config, store, http } = self;
        config.check()?;
        let keys = Arc::new(Keys::new(&config.keys));
        let products = Arc::new(Products::new(&config.products));
        let store = store.unwrap_or_else(|| Arc::new(ConfiguredDevices::new(&config.products)));
        let admission =
            Admission::new(Arc::clone(&products), Arc::clone(&store), Arc::clone(&keys));
        let replay = Arc::new(Replay::new(config.http.replay_window));
        let Side { link, hub, roster } = mqtt::start(&config.mqtt, admission).await?;
        let counted = roster.clone();
        let platform = Platform::start(calls::Settings {
            link,
            products: Arc::clone(&products),
            store,
            keys: Arc::clone(&keys),
            replay: Arc::clone(&replay),
            roster,
            limits: config.limits,
            response_topics: config.mqtt.response_topics,
            cluster: config.cluster,
        })
        .await?;
        let platform = Arc::new(platform);
        let (listed, asked) = (Arc::clone(&platform), Arc::clone(&platform));
        let connections = config.mqtt.connections;
        let of = |hub: &Hub| HubFigures {
            stats: Arc::new(hub.observer()),
            devices: Arc::new(move || counted.as_ref().map_or(0, |roster| roster.count())),
            connections,
        };
        let front = Front {
            keys,
            products,
            calls: platform.calls(),
            publisher: platform.publisher(),
            devices: Arc::new(move |wanted| listed.devices(wanted)),
            ended: platform.ended().clone(),
            replay,
            now: SystemTime::now,
            ready: Arc::new(move || asked.is_ready()),
            hub: hub.as_ref().map(of),
        };
        let http = Server::start(&config.http, http, front).await?;
        Ok(Gateway { http, platform, hub })
    }
}

impl fmt::Debug for GatewayBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayBuilder")
            .field("config", &self.config)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

/// Why a gateway could not be started.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// Something in the configuration is not possible.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The hub could not be started.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The broker could not be reached, or refused.
    #[error("broker: {0}")]
    Broker(#[from] ConnectError),
    /// A certificate or its key cannot be used.
    #[error("{place}: {source}")]
    Tls {
        /// Which of the two: `http.tls` or `mqtt.tls`.
        place: &'static str,
        /// What is wrong with it.
        source: ServerTlsError,
    },
    /// What calls need could not be subscribed to.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// An address for HTTP could not be listened on.
    #[error("cannot listen for HTTP on {address}: {source}")]
    Http {
        /// As it is in the configuration, or the listener's own.
        address: SocketAddr,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
}
