//! A bridge inside the hub.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::{Bridge, BridgeError};
use crate::core::template::TopicTemplate;
use crate::dialect::Dialect;
use crate::error::ServeError;
use crate::link::Link;
use crate::requester::{Requester, RequesterBuilder};
use crate::responder::{Responder, ResponderBuilder};

type Change<B> = Arc<dyn Fn(B) -> B + Send + Sync>;

/// Which requests a hub answers in one dialect by asking in another: see
/// [`HubBuilder::translate`](crate::hub::HubBuilder::translate).
#[derive(Clone)]
pub struct Translation {
    from: Arc<dyn Dialect>,
    to: Arc<dyn Dialect>,
    routes: Vec<(Box<str>, Box<str>)>,
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
        self.check_for_loops()?;
        let requester = Requester::builder(link.clone()).dialect(Arc::clone(&self.to));
        let requester = change(self.requester.as_ref(), requester).build().await?;
        let mut bridge = Bridge::new(requester);
        for (from, to) in &self.routes {
            bridge = bridge.route(from, to)?;
        }
        let responder = Responder::builder(link.clone()).dialect(Arc::clone(&self.from));
        Ok(bridge.serve(change(self.responder.as_ref(), responder)).await?)
    }

    /// Both sides are on one hub: what is asked must not be what is answered.
    fn check_for_loops(&self) -> Result<(), TranslationError> {
        for (from, to) in &self.routes {
            let answered = super::template(from)?;
            let asked = super::template(to)?;
            if self.overlap(&answered, &asked) {
                return Err(TranslationError::Loop { from: from.clone(), to: to.clone() });
            }
        }
        Ok(())
    }

    fn overlap(&self, answered: &TopicTemplate, asked: &TopicTemplate) -> bool {
        let answered = self.from.request_subscriptions(&answered.to_filter());
        let asked = self.to.request_subscriptions(&asked.to_filter());
        answered.iter().any(|a| asked.iter().any(|b| a.filter.overlaps(&b.filter)))
    }
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
    /// The requests that are asked are among those that are answered.
    #[error("{from} to {to} would answer its own requests")]
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
