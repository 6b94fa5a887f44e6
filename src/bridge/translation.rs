//! A bridge inside the hub.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::{Bridge, BridgeError};
use crate::dialect::Dialect;
use crate::error::ServeError;
use crate::link::Link;
use crate::requester::{Requester, RequesterBuilder};
use crate::responder::{Responder, ResponderBuilder};

/// What is answered, and what is asked for it.
type Route = (Box<str>, Box<str>);

type Change<B> = Arc<dyn Fn(B) -> B + Send + Sync>;

/// Which requests a hub answers in one dialect by asking in another: see
/// [`HubBuilder::translate`](crate::hub::HubBuilder::translate).
#[derive(Clone)]
#[must_use = "a translation does nothing until a hub is given it"]
pub struct Translation {
    from: Arc<dyn Dialect>,
    to: Arc<dyn Dialect>,
    routes: Vec<Route>,
    requester: Option<Change<RequesterBuilder>>,
    responder: Option<Change<ResponderBuilder>>,
}

impl Translation {
    /// Answers in `from` and asks in `to`.
    pub fn new(from: impl Dialect, to: impl Dialect) -> Self {
        Self {
            from: Arc::new(from),
            to: Arc::new(to),
            routes: Vec::new(),
            requester: None,
            responder: None,
        }
    }

    /// As [`Bridge::route`]. What is wrong with it is said when the hub starts.
    pub fn route(mut self, from: &str, to: &str) -> Self {
        self.routes.push((from.into(), to.into()));
        self
    }

    /// Changes how the requester is configured: its limits, one call in flight per device.
    pub fn requester(
        mut self,
        change: impl Fn(RequesterBuilder) -> RequesterBuilder + Send + Sync + 'static,
    ) -> Self {
        self.requester = Some(Arc::new(change));
        self
    }

    /// Changes how the responder is configured: its concurrency.
    pub fn responder(
        mut self,
        change: impl Fn(ResponderBuilder) -> ResponderBuilder + Send + Sync + 'static,
    ) -> Self {
        self.responder = Some(Arc::new(change));
        self
    }

    /// Starts it on a link of the hub.
    pub(crate) async fn start(&self, link: &Link) -> Result<Responder, TranslationError> {
        let requester = Requester::builder(link.clone()).dialect(Arc::clone(&self.to));
        let requester = change(self.requester.as_ref(), requester).build().await?;
        let mut bridge = Bridge::new(requester);
        for (from, to) in &self.routes {
            bridge = bridge.route(from, to)?;
        }
        let responder = Responder::builder(link.clone()).dialect(Arc::clone(&self.from));
        Ok(bridge.serve(change(self.responder.as_ref(), responder)).await?)
    }

    /// The route by which this one asks what the other answers, if there is one.
    fn asks(&self, other: &Self) -> Result<Option<&Route>, TranslationError> {
        for route in &self.routes {
            let asked = self.to.request_subscriptions(&super::template(&route.1)?.to_filter());
            for (from, _) in &other.routes {
                let answered = super::template(from)?.to_filter();
                let answered = other.from.request_subscriptions(&answered);
                if asked.iter().any(|a| answered.iter().any(|b| a.filter.overlaps(&b.filter))) {
                    return Ok(Some(route));
                }
            }
        }
        Ok(None)
    }
}

/// All of them are on one hub: none may hear its own questions, not by way of others either.
pub(crate) fn check_for_loops(translations: &[Translation]) -> Result<(), TranslationError> {
    for (start, first) in translations.iter().enumerate() {
        // Those that hear what the first asks, directly or through others.
        let mut hear = vec![false; translations.len()];
        let mut next = vec![first];
        while let Some(translation) = next.pop() {
            for (number, other) in translations.iter().enumerate() {
                let Some((from, to)) = translation.asks(other)? else { continue };
                if number == start {
                    return Err(TranslationError::Loop { from: from.clone(), to: to.clone() });
                }
                if !std::mem::replace(&mut hear[number], true) {
                    next.push(other);
                }
            }
        }
    }
    Ok(())
}

fn change<B>(change: Option<&Change<B>>, builder: B) -> B {
    match change {
        Some(change) => change(builder),
        None => builder,
    }
}

impl fmt::Debug for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Translation")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

/// Why a translation cannot be started.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum TranslationError {
    /// A route is not possible.
    #[error(transparent)]
    Route(#[from] BridgeError),
    /// What is asked on this route is answered by it, or by a chain of others that leads back to it.
    #[error("{from} to {to} would hear its own requests")]
    Loop {
        /// The template of what is answered.
        from: Box<str>,
        /// The template of what is asked.
        to: Box<str>,
    },
    /// The requester or the responder cannot be built.
    #[error(transparent)]
    Serve(#[from] ServeError),
}
