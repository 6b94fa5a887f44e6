//! How a call reaches a device, in the device's dialect and within limits.
//!
//! | step | where | or else |
//! |---|---|---|
//! | who may | [`Keys`] | `NotAllowed` |
//! | to whom | [`Products`], the form of the device's name | `NoSuchProduct`, `NoSuchDevice` |
//! | how many at once: of the gateway, to the device, of the key | [`limits`] | `TooMany`, at once |
//! | in which dialect, on which address | [`ways`] | `Invalid` |
//! | which gateway | [`cluster`](super::cluster) | passed on |
//! | beside a broker: is there such a device | [`DeviceStore`] | `NoSuchDevice`, `Disabled` |
//! | the exchange | a requester of the dialect | [`explain`] |
//!
//! Each call is [told of](super::ended) when it has ended, by the gateway that it came to.
//!
//! What a call holds is freed when it ends or its future is dropped, whichever is first. A call that is
//! dropped gives its exchange up: a late answer is dropped and counted.

mod address;
mod explain;
mod limits;
mod message_id;
mod native_front;
mod overview;
mod publish;
mod switchboard;
mod ways;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;

pub(super) use self::explain::{explain, unsent};
use self::limits::Limiter;
pub(super) use self::publish::Outlet;
use self::switchboard::Switchboard;
use self::ways::Ways;
use super::call::{Calls, Publisher};
use super::cluster::{Cluster, Nonces};
use super::config;
use super::devices::{DeviceStore, Roster};
use super::ended::EndedCalls;
use super::keys::Keys;
use super::level::is_level;
use super::listing::{Listed, Wanted};
use super::products::Products;
use super::replay::Replay;
use crate::core::topic::TopicFilter;
use crate::error::ServeError;
use crate::link::Link;
use crate::responder::Responder;

/// What a [`Platform`] is made of.
pub(crate) struct Settings {
    /// To the embedded hub, or to a broker.
    pub(crate) link: Link,
    pub(crate) products: Arc<Products>,
    pub(crate) store: Arc<dyn DeviceStore>,
    pub(crate) keys: Arc<Keys>,
    /// What signed requests have used, here and at the others of a cluster.
    pub(crate) replay: Arc<Replay>,
    /// Of the embedded hub; `None` beside a broker.
    pub(crate) roster: Option<Arc<Roster>>,
    pub(crate) limits: config::Limits,
    /// Where native requesters may have their answers.
    pub(crate) response_topics: Vec<TopicFilter>,
    /// Beside a broker only.
    pub(crate) cluster: Option<config::Cluster>,
}

/// How long calls that are given up may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Calls the devices of all products, and publishes to them.
///
/// It answers native requesters and other gateways as long as it is there. Dropping it ends everything at
/// once, calls in flight included; [`shutdown`](Self::shutdown) lets them finish.
pub(crate) struct Platform {
    link: Link,
    board: Arc<Switchboard>,
    /// Until it shuts down.
    responders: Mutex<Responders>,
}

/// Who takes calls in beside HTTP.
#[derive(Default)]
struct Responders {
    /// From native requesters.
    front: Option<Responder>,
    /// From other gateways.
    passed_on: Option<Responder>,
}

impl Platform {
    /// Subscribes to what it needs, and returns when that is acknowledged; in a cluster when the other
    /// gateways had the time to be heard, which is a third of `dead_after`.
    ///
    /// # Errors
    /// As [`ResponderBuilder::serve`](crate::responder::ResponderBuilder::serve), when the broker refuses a
    /// subscription or goes away; [`ServeError::Configuration`] when a product's id, or the cluster's name, is
    /// not one level of a topic.
    ///
    /// # Cancel safety
    /// Dropping the future undoes everything.
    pub(crate) async fn start(settings: Settings) -> Result<Self, ServeError> {
        let Settings {
            link,
            products,
            store,
            keys,
            replay,
            roster,
            limits,
            response_topics,
            cluster,
        } = settings;
        if let Some(wrong) = products.iter().find(|product| !is_level(&product.id)) {
            let text = format!("product: {:?} is not one level of a topic", wrong.id);
            return Err(ServeError::Configuration(text.into()));
        }
        let in_flight = limits.in_flight;
        let ways = Ways::open(&link, &products, in_flight).await?;
        let outlet = Outlet::open(&link, in_flight).await?;
        let cluster = match cluster {
            Some(config) => {
                let nonces = Nonces::new(replay, Arc::clone(&keys));
                let outlet = outlet.clone();
                Some(Cluster::new(&link, &config, in_flight, outlet, nonces).await?)
            }
            None => None,
        };
        let (cluster, joining) = cluster.unzip();
        let limiter = Arc::new(Limiter::new(limits));
        let over = CancellationToken::new();
        let board = Arc::new(Switchboard {
            products,
            store,
            keys,
            roster,
            limiter,
            ways,
            outlet,
            response_topics,
            cluster,
            ended: EndedCalls::new(),
            over,
        });
        let mut responders = Responders::default();
        if let (Some(cluster), Some(joining)) = (&board.cluster, joining) {
            let own = Arc::clone(&board);
            let make = move |call| {
                let board = Arc::clone(&own);
                async move {
                    let leaving = board.cluster.as_ref().is_none_or(Cluster::is_leaving);
                    if leaving { None } else { Some(board.call_here(call).await) }
                }
            };
            responders.passed_on = Some(cluster.serve(&link, make).await?);
            // Others pass calls on as soon as they hear of it.
            cluster.join(&link, joining).await?;
        }
        // Until it has heard of the others it takes all devices for its own.
        let share = board.cluster.as_ref().map(Cluster::name);
        responders.front = native_front::serve(&link, &board, share).await?;
        Ok(Self { link, board, responders: responders.into() })
    }

    /// Makes calls.
    pub(crate) fn calls(&self) -> Calls {
        let board = Arc::clone(&self.board);
        BoxCloneSyncService::new(tower::service_fn(move |call| {
            let board = Arc::clone(&board);
            async move { board.call(call).await }
        }))
    }

    /// Publishes. A publication is in flight until the server has acknowledged it, and counts as a call.
    pub(crate) fn publisher(&self) -> Publisher {
        let board = Arc::clone(&self.board);
        BoxCloneSyncService::new(tower::service_fn(move |publication| {
            let board = Arc::clone(&board);
            async move { board.publish(publication).await }
        }))
    }

    /// Those that are connected; beside a broker those of the configuration, and those that have calls in
    /// flight.
    pub(crate) fn devices(&self, wanted: &Wanted<'_>) -> Listed {
        self.board.devices(wanted)
    }

    /// Tells of each call that has come in here and has ended, whatever it came through.
    pub(crate) fn ended(&self) -> &EndedCalls {
        &self.board.ended
    }

    /// Calls in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.board.limiter.in_flight()
    }

    /// Whether the link is up.
    pub(crate) fn is_ready(&self) -> bool {
        self.link.is_connected()
    }

    /// Leaves the cluster at once, so that others take over, and answers no more native requesters; where there
    /// is none, it answers them as long as others. Those who call until `callers` ends still may; after it no
    /// new calls are taken (`Unavailable`). Calls in flight end, or are given up after `grace`. Then the link
    /// is closed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves calls in flight as they are; no new ones are taken.
    pub(crate) async fn shutdown(&self, grace: Duration, callers: impl Future<Output = ()>) {
        let Switchboard { limiter, cluster, over, .. } = &*self.board;
        let end = tokio::time::Instant::now() + grace;
        let left = || end.saturating_duration_since(tokio::time::Instant::now());
        let Responders { front, passed_on } = std::mem::take(&mut *self.responders());
        let callers = callers.shared();
        let leaving = async {
            match cluster {
                Some(cluster) => drop(tokio::time::timeout_at(end, cluster.leave()).await),
                // Nobody else answers native requesters.
                None => callers.clone().await,
            }
            if let Some(front) = front {
                front.shutdown(left()).await;
            }
        };
        let ending = async {
            callers.clone().await;
            limiter.close();
            if tokio::time::timeout_at(end, limiter.idle()).await.is_err() {
                over.cancel();
            }
        };
        tokio::join!(leaving, ending);
        // Not before: who has not heard that it leaves would take it for dead, and give up what it has
        // passed on.
        if let Some(passed_on) = passed_on {
            passed_on.shutdown(left()).await;
        }
        over.cancel();
        // Before they have seen that, they would say that the connection is closed: nothing of what they
        // may have done.
        let _ = tokio::time::timeout(FAREWELL, limiter.idle()).await;
        // All answers have left. Whoever drops the last handle would wait for the connection's end, and
        // if that is one of the runtime's threads it may hold up who has the last but one.
        self.link.close();
    }

    fn responders(&self) -> std::sync::MutexGuard<'_, Responders> {
        self.responders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.board.limiter.close();
        self.board.over.cancel();
        if let Some(cluster) = &self.board.cluster {
            cluster.abandon();
        }
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("link", &self.link).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
