//! The two ends of the links, which come back whatever happens to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;
use tower_mqtt::link::{ClientBuilder, Reconnect};
use tower_mqtt::responder::ResponderStats;
use tower_mqtt::{Client, Link, Request, RequestError, Requester, Response, Router};

use super::broker::Inside;
use super::history::History;
use super::pairs::Pair;

const PAUSE: Duration = Duration::from_millis(20);

/// Longer than any handler works.
const GRACE: Duration = Duration::from_secs(2);

/// One client of the broker.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) pair: Pair,
    pub(crate) client_id: String,
    place: Place,
    rebuild: Notify,
    stop: CancellationToken,
}

/// Where it connects.
#[derive(Debug)]
pub(crate) enum Place {
    Network(SocketAddr),
    /// In the hub's process.
    Inside(Inside),
}

/// What callers use, as long as it lasts.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) service: BoxCloneSyncService<Request, Response, RequestError>,
    pub(crate) requester: Requester,
}

impl Station {
    pub(crate) fn new(pair: Pair, client_id: String, place: Place) -> Self {
        let (rebuild, stop) = (Notify::new(), CancellationToken::new());
        Self { pair, client_id, place, rebuild, stop }
    }

    /// It notices a half-open connection soon, and comes back soon.
    pub(crate) fn client(address: SocketAddr, client_id: &str) -> ClientBuilder {
        let reconnect = Reconnect { shortest: PAUSE, longest: 10 * PAUSE };
        Client::builder(&format!("mqtt://{address}"))
            .client_id(client_id)
            .keep_alive(Duration::from_secs(1))
            .connect_timeout(Duration::from_secs(1))
            .reconnect(reconnect)
    }

    pub(crate) fn rebuild(&self) {
        self.rebuild.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Connects, however often it takes. `None`: it is to stop.
    async fn link(&self) -> Option<Link> {
        while !self.stop.is_cancelled() {
            let link = match &self.place {
                Place::Inside(inside) => inside.link(&self.client_id),
                Place::Network(address) => {
                    let client = self.pair.client(Self::client(*address, &self.client_id));
                    tokio::select! {
                        () = self.stop.cancelled() => return None,
                        link = client.connect() => link.ok(),
                    }
                }
            };
            if link.is_some() {
                return link;
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Until another link is needed.
    async fn over(&self, link: &Link) {
        let closed = async {
            while link.connected().await {
                link.disconnected().await;
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.rebuild.notified() => {}
            () = closed => {}
        }
    }

    pub(crate) async fn ask(
        self: Arc<Self>,
        asker: watch::Sender<Option<Asker>>,
        history: Arc<History>,
    ) {
        while let Some(link) = self.link().await {
            let Ok(requester) = self.pair.requester(link.clone()).build().await else { continue };
            let service = self.pair.service(requester.clone());
            asker.send_replace(Some(Asker { service, requester: requester.clone() }));
            self.over(&link).await;
            asker.send_replace(None);
            if requester.stats().malformed > 0 {
                history.wrong(format!(
                    "{} has read nonsense: {:?}",
                    self.client_id,
                    requester.stats()
                ));
            }
        }
    }

    pub(crate) async fn answer(
        self: Arc<Self>,
        router: Router,
        stats: watch::Sender<ResponderStats>,
        history: Arc<History>,
    ) {
        while let Some(link) = self.link().await {
            let serving = self.pair.responder(link.clone()).serve(router.clone()).await;
            let Ok(responder) = serving else { continue };
            let watching = async {
                loop {
                    stats.send_replace(responder.stats());
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::select! {
                () = self.over(&link) => {}
                () = watching => {}
            }
            let ResponderStats { malformed, forbidden, panicked, .. } = responder.stats();
            if (malformed, forbidden, panicked) != (0, 0, 0) {
                history.wrong(format!(
                    "{} has read nonsense: {:?}",
                    self.client_id,
                    responder.stats()
                ));
            }
            responder.shutdown(GRACE).await;
        }
        stats.send_replace(ResponderStats::default());
    }
}

/// A link of its own takes the place of another one.
pub(crate) async fn take_over(address: SocketAddr, client_id: String) {
    let client = Station::client(address, &client_id).connect_timeout(Duration::from_millis(500));
    drop(client.connect().await);
}
