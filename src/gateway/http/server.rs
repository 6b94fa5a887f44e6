//! Starts, and stops.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Front;
use super::accept::Acceptor;
use super::connection::Serving;
use super::routes::{App, router};
use crate::gateway::GatewayError;
use crate::gateway::config::{self, TlsFiles};

/// What a listener without an address of its own is called.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// How long is waited, mostly for what a client does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) handshake: Duration,
    /// For the next request too, so that an idle connection goes.
    pub(super) headers: Duration,
    pub(super) body: Duration,
    /// For the client to take more of a response.
    pub(super) write: Duration,
    /// For a last request of who is connected when the server stops.
    pub(super) last_request: Duration,
    /// Until the files of TLS are looked at again.
    pub(super) certificates: Duration,
}

/// For what a client sends at once.
const SHORT: Duration = Duration::from_secs(10);

/// For a body, in either direction.
const LONG: Duration = Duration::from_secs(30);

impl Default for Patience {
    fn default() -> Self {
        let certificates = Duration::from_mins(1);
        let last_request = Duration::from_secs(1);
        Self {
            handshake: SHORT,
            headers: SHORT,
            body: LONG,
            write: LONG,
            last_request,
            certificates,
        }
    }
}

/// A running HTTP server. Dropping it stops it at once: requests in flight are cancelled.
#[derive(Debug)]
pub(crate) struct Server {
    local_addrs: Vec<SocketAddr>,
    stop: oneshot::Sender<Duration>,
    /// One task, whose own are the connections. All end when this is dropped.
    accepting: JoinSet<()>,
}

impl Server {
    /// Listens on all addresses, or takes the listeners that are there already instead, and serves in
    /// tasks of the current runtime.
    ///
    /// # Errors
    /// [`GatewayError::Http`] when an address cannot be listened on or a listener cannot be used,
    /// [`GatewayError::Tls`] when the certificate or its key cannot be used.
    ///
    /// # Cancel safety
    /// Dropped before its end, it listens on nothing.
    pub(crate) async fn start(
        config: &config::Http,
        there: Vec<std::net::TcpListener>,
        front: Front,
    ) -> Result<Self, GatewayError> {
        Self::start_with(config, there, front, Patience::default()).await
    }

    pub(super) async fn start_with(
        config: &config::Http,
        there: Vec<std::net::TcpListener>,
        front: Front,
        patience: Patience,
    ) -> Result<Self, GatewayError> {
        let load = |files: &TlsFiles| files.server().check_every(patience.certificates).load();
        let tls = config.tls.as_ref().map(load).transpose();
        let tls = tls.map_err(|source| GatewayError::Tls { place: "http.tls", source })?;
        let shared = !there.is_empty();
        let listeners = listen(&config.listen, there).await?;
        let (local_addrs, listeners): (_, Vec<_>) = listeners.into_iter().unzip();
        let stopping = CancellationToken::new();
        let app = Arc::new(App::new(config, front, patience.body, stopping.clone()));
        let serving = Serving {
            app: Arc::clone(&app),
            service: TowerToHyperService::new(router(app)),
            tls,
            patience,
            stopping,
        };
        let (stop, stopped) = oneshot::channel();
        let acceptor = Acceptor::new(listeners, shared, config.connections, serving);
        let mut accepting = JoinSet::new();
        accepting.spawn(acceptor.run(stopped));
        Ok(Self { local_addrs, stop, accepting })
    }

    /// The addresses that it listens on, with the ports that it got, in the order of the configuration.
    pub(crate) fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Accepts no more, closes what is idle a second later, and lets requests in flight finish for up to
    /// `grace`. When it returns, no connection and no task is left.
    ///
    /// # Cancel safety
    /// Dropping the future stops it at once.
    pub(crate) async fn shutdown(mut self, grace: Duration) {
        let _ = self.stop.send(grace);
        if let Some(Err(error)) = self.accepting.join_next().await {
            tracing::error!(%error, "the HTTP server did not stop well");
        }
    }
}

async fn listen(
    addresses: &[SocketAddr],
    there: Vec<std::net::TcpListener>,
) -> Result<Vec<(SocketAddr, TcpListener)>, GatewayError> {
    let wrong = |address, error| GatewayError::Http { address, source: Arc::new(error) };
    let with_address = |listener: TcpListener| {
        let address = listener.local_addr()?;
        Ok((address, listener))
    };
    if !there.is_empty() {
        let ready = there.into_iter().map(|listener| {
            let address = listener.local_addr().unwrap_or(NOWHERE);
            // tokio would block on it.
            let listener =
                listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
            listener.and_then(with_address).map_err(|error| wrong(address, error))
        });
        return ready.collect();
    }
    let mut listeners = Vec::new();
    for &address in addresses {
        let listener = TcpListener::bind(address).await.and_then(with_address);
        listeners.push(listener.map_err(|error| wrong(address, error))?);
    }
    Ok(listeners)
}
