//! Answers in one dialect by asking in another: [`Bridge`].
//!
//! A bridge is a router whose handlers call a requester. Callers keep their dialect and devices theirs:
//!
//! ```
//! use tower::ServiceExt;
//! use tower_mqtt::bridge::Bridge;
//! use tower_mqtt::dialect::{Native, rrpc::tencent};
//! use tower_mqtt::link::memory::Network;
//! use tower_mqtt::{Request, Requester, Responder, Router};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::new();
//! // A device with the firmware of ten years ago.
//! let firmware = Router::new().route("lamps/lamp7", async |order: String| format!("{order}: ok"));
//! let device = Responder::builder(network.link("lampslamp7")).dialect(tencent::rrpc());
//! let device = device.serve(firmware).await?;
//!
//! let requester = Requester::builder(network.link("bridge")).dialect(tencent::rrpc()).build().await?;
//! let bridge = Bridge::new(requester).route("devices/{product}/{device}", "{product}/{device}")?;
//! let bridge = bridge.serve(Responder::builder(network.link("bridge-front")).dialect(Native::new())).await?;
//!
//! // A caller who has never heard of Tencent.
//! let caller = Requester::builder(network.link("caller")).build().await?;
//! let answer = caller.oneshot(Request::new("devices/lamps/lamp7", "on")?).await?;
//! assert_eq!(answer.payload(), "on: ok");
//! # drop((device, bridge));
//! # Ok(())
//! # }
//! ```
//!
//! # What goes through
//!
//! | of a request | |
//! |---|---|
//! | payload, content type, user properties | as they are, as far as the other dialect [carries](crate::dialect::Carries) them |
//! | QoS | 1, whatever it was, so that a server can say that the device is not there |
//! | deadline | what is left of it, but no longer than the other dialect's own limit |
//! | id | made anew; the answer finds its way by the bridge's own |
//! | topic | translated, see [`Bridge::route`] |
//!
//! An answer goes back with its status, payload, content type and user properties. When there is none,
//! the caller is told why:
//!
//! | the call ended with | status |
//! |---|---|
//! | [`Timeout`](RequestError::Timeout) before the caller's own deadline | 408 |
//! | [`Offline`](RequestError::Offline), [`NotSubscribed`](RequestError::NotSubscribed), [`NoResponder`](RequestError::NoResponder) | 503 and the reason |
//! | [`InvalidRequest`](RequestError::InvalidRequest): the other dialect cannot carry this request | 400 and the reason |
//! | [`Refused`](RequestError::Refused) by a layer around the requester | its status |
//! | anything else that was [not delivered](RequestError::delivery) | 503 and the reason |
//! | anything else | 502 and the reason: the device may have done what it was asked |
//!
//! A caller whose dialect carries no status hears nothing then, and times out.
//!
//! # Once
//!
//! [`Bridge::serve`] puts a [`DedupLayer`] in front: a request that arrives twice is asked once, and answered
//! twice. It is remembered for five minutes where ids are ULIDs, and for the dialect's
//! default timeout where they are numbers, which come round again. (Where request and answer share a topic,
//! a copy that comes after the answer is dropped, as it may be the answer itself.) A call is never repeated by the bridge.
//!
//! # Bounds
//!
//! In flight are at most as many requests as the responder's
//! [`concurrency`](ResponderBuilder::concurrency) and the requester's
//! [`max_in_flight`](crate::requester::RequesterBuilder::max_in_flight); what is beyond the first is answered 503.
//!
//! # Loops
//!
//! A bridge must not hear its own questions: two dialects that write a request on the same topic, or one
//! on both sides, need two brokers. Between different dialects of this crate there is no such topic, except
//! that the native one may be routed anywhere.

mod crossing;
#[cfg(feature = "ntex")]
mod translation;

use std::time::Duration;

use thiserror::Error;
use tower::Service;

use self::crossing::Crossing;
#[cfg(feature = "ntex")]
pub(crate) use self::translation::check_for_loops;
#[cfg(feature = "ntex")]
pub use self::translation::{Translation, TranslationError};
use crate::core::inbox::InboxLimits;
use crate::core::template::{TemplateError, TopicTemplate};
use crate::dialect::{Dialect, IdFormat};
use crate::error::{RequestError, ServeError};
use crate::layer::DedupLayer;
use crate::message::{Request, Response};
use crate::responder::{Responder, ResponderBuilder, Router};

/// Routes that are answered by asking somebody else.
#[derive(Debug, Clone)]
#[must_use = "a bridge does nothing until it is served"]
pub struct Bridge<S> {
    requester: S,
    routes: Vec<(TopicTemplate, TopicTemplate)>,
}

impl<S> Bridge<S>
where
    S: Service<Request, Response = Response, Error = RequestError> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    /// A bridge without routes, which asks with `requester`: a [`Requester`](crate::Requester), or
    /// layers around one.
    pub fn new(requester: S) -> Self {
        Self { requester, routes: Vec::new() }
    }

    /// Answers requests to the topics of `from` by asking on the topic that `to` makes of their captures.
    ///
    /// Of several routes the most specific one counts, as in a [`Router`].
    ///
    /// # Errors
    /// [`BridgeError`] when one is no template, or `to` has a capture that `from` has not.
    pub fn route(mut self, from: &str, to: &str) -> Result<Self, BridgeError> {
        let route = (template(from)?, template(to)?);
        if let Some(name) = route.1.names().find(|name| !captures_as_much(&route.0, &route.1, name))
        {
            return Err(BridgeError::Unknown { template: to.into(), name: name.into() });
        }
        self.routes.push(route);
        Ok(self)
    }

    /// The routes as a router, for those who add layers. It does not deduplicate.
    pub fn into_router(self) -> Router {
        let Self { requester, routes } = self;
        routes.into_iter().fold(Router::new(), |router, (from, to)| {
            let template = from.as_str().to_owned();
            router.route_service(&template, Crossing::new(requester.clone(), from, to))
        })
    }

    /// Answers with this responder.
    ///
    /// # Errors
    /// As [`ResponderBuilder::serve`]; [`ServeError::Configuration`] as well when the responder has
    /// several dialects, as ids are remembered for a time that is the dialect's.
    ///
    /// # Cancel safety
    /// Dropping the future undoes everything.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn serve(self, responder: ResponderBuilder) -> Result<Responder, ServeError> {
        let ages: Vec<Duration> = responder.dialects().map(remembered).collect();
        let age = match ages[..] {
            [] => InboxLimits::default().age,
            [age] => age,
            _ => {
                let text = "a bridge answers in one dialect: serve a clone of it for each";
                return Err(ServeError::Configuration(text.into()));
            }
        };
        let limits = InboxLimits { age, ..InboxLimits::default() };
        responder.serve(self.into_router().layer(DedupLayer::new(limits))).await
    }
}

/// How long a request is known by its id.
fn remembered(dialect: &dyn Dialect) -> Duration {
    match dialect.id_format() {
        IdFormat::Ulid | IdFormat::UlidText => InboxLimits::default().age,
        IdFormat::Decimal { .. } | IdFormat::Short { .. } => dialect.default_timeout(),
    }
}

fn template(text: &str) -> Result<TopicTemplate, BridgeError> {
    TopicTemplate::new(text)
        .map_err(|source| BridgeError::Template { template: text.into(), source })
}

/// Whether `from` has this capture, and not several levels where `to` has one.
fn captures_as_much(from: &TopicTemplate, to: &TopicTemplate, name: &str) -> bool {
    let known = from.names().any(|known| known == name);
    known && (!from.captures_rest(name) || to.captures_rest(name))
}

/// What is wrong with a bridge's route.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// It is not a template.
    #[error("{template}: {source}")]
    Template {
        /// As it was given.
        template: Box<str>,
        /// What is wrong.
        source: TemplateError,
    },
    /// It has a capture that the other side does not fill, or fills with several levels.
    #[error("{template}: nothing fills {{{name}}}")]
    Unknown {
        /// As it was given.
        template: Box<str>,
        /// The capture.
        name: Box<str>,
    },
}
