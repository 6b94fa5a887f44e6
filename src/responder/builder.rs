//! How a [`Responder`] is configured.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tower::Service;

use super::endpoint::{Endpoint, Settings};
use super::stats::Counters;
use super::subscriptions::without_copies;
use super::tasks::Tasks;
use super::{Responder, Router};
use crate::core::packet::Subscription;
use crate::core::topic::{TopicFilter, TopicName};
use crate::dialect::{Dialect, Native};
use crate::error::{ConnectError, RouteError, ServeError};
use crate::link::{Link, Role};
use crate::message::{Parts, Request, Response};

/// When a request that came at QoS 1 is acknowledged to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledge {
    /// When it has arrived. The default: handlers never hold up what else arrives, and a handler
    /// may make calls over the same link.
    #[default]
    OnReceipt,
    /// When its answer is sent. A request whose responder dies is delivered again, to another
    /// responder of the share name or after the reconnect, so it may be executed twice.
    ///
    /// Requests being handled fill the window that the client announced as its Receive Maximum.
    /// When it is full nothing else arrives, not even answers: a handler that makes calls needs a
    /// second link for them ([`ResponderBuilder::link_for_calls`]), or it waits for itself. A
    /// requester on the same link is refused when it is built, and so is this responder where there
    /// is one.
    AfterAnswer,
}

pub(super) type Allowed = Arc<dyn Fn(&TopicName, &Parts) -> bool + Send + Sync>;

/// Configures a [`Responder`].
#[derive(Clone)]
#[must_use = "nothing is answered before `serve`"]
pub struct ResponderBuilder {
    link: Link,
    dialects: Vec<Arc<dyn Dialect>>,
    share: Option<String>,
    concurrency: usize,
    inline: bool,
    acknowledge: Acknowledge,
    allowed: Option<Allowed>,
}

impl ResponderBuilder {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            dialects: Vec::new(),
            share: None,
            concurrency: 256,
            inline: false,
            acknowledge: Acknowledge::default(),
            allowed: None,
        }
    }

    /// Answers requests in this dialect. Call it again to serve several at once; never called, it
    /// is [`Native`]. Each dialect serves the routes that are like its addresses; where two have the
    /// same wire topics, the one with the narrower subscription reads them, and of equal ones the one that
    /// was named first.
    pub fn dialect(mut self, dialect: impl Dialect) -> Self {
        self.dialects.push(Arc::new(dialect));
        self
    }

    /// The dialects that were named; none is the native one.
    pub(crate) fn dialects(&self) -> impl Iterator<Item = &dyn Dialect> {
        self.dialects.iter().map(|dialect| &**dialect)
    }

    /// Shares the requests with every other responder that subscribes under this name: each goes to
    /// one of them (`$share/{name}/…`, MQTT 5 §4.8.2). Not possible with a dialect that
    /// [answers on the request topic](Dialect::answers_on_request_topic).
    ///
    /// It is shared filter by filter: a server keeps a group of subscribers for each filter under the
    /// name, and a request goes to one member of every group that it matches. So all responders of
    /// a share name must have the same routes, or routes without topics in common. Within one,
    /// a route may lie within another (`recipes/soup/get` in `recipes/{category}/get`): then only the
    /// wider is [subscribed to](Router#what-is-subscribed-to). Routes that cross, of which neither has
    /// all topics of the other (`a/{x}/c` and `a/b/{y}`), are refused, as a request to both would be
    /// handled twice. A route that has the topics of both (`a/{x}/{y}`) makes them possible: they
    /// are still the more specific ones.
    ///
    /// ```
    /// use tower_mqtt::link::memory::Network;
    /// use tower_mqtt::{Responder, Router};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Responder::builder(Network::new().link("cook")).share("kitchen");
    /// let router = Router::new().route("a/{x}/c", async || ()).route("a/b/{y}", async || ());
    /// assert!(builder.clone().serve(router.clone()).await.is_err());
    /// let responder = builder.serve(router.route("a/{x}/{y}", async || ())).await?;
    /// # drop(responder);
    /// # Ok(())
    /// # }
    /// ```
    pub fn share(mut self, name: impl Into<String>) -> Self {
        self.share = Some(name.into());
        self
    }

    /// How many requests are handled at once, at least 1; further ones are answered with 503.
    ///
    /// 256 by default: enough to keep a few processors busy with handlers that wait for something.
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.concurrency = requests.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Runs the handlers on the connection's own thread, without a hop to a runtime.
    ///
    /// For short handlers: while one computes, nothing else on the connection happens, its answers
    /// and deadlines included. One that waits (for a timer, a channel, a call) holds up nobody; one
    /// that blocks holds up everybody.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[cfg(feature = "ntex")] {
    /// use std::thread;
    /// use tower::ServiceExt;
    /// use tower_mqtt::{Hub, Request, Requester, Responder, Router};
    ///
    /// let hub = Hub::builder().start().await?;
    /// let here = thread::current().id();
    /// let router = Router::new().route("where", async move || {
    ///     if thread::current().id() == here { "with the caller" } else { "with the connection" }
    /// });
    /// let _responder = Responder::builder(hub.link("kitchen")).inline().serve(router).await?;
    ///
    /// let requester = Requester::builder(hub.link("M7")).build().await?;
    /// let answer = requester.oneshot(Request::new("where", "")?).await?;
    /// assert_eq!(answer.payload(), "with the connection");
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// When a request is acknowledged to the server. On receipt by default.
    ///
    /// ```
    /// use tower::ServiceExt;
    /// use tower_mqtt::link::memory::Network;
    /// use tower_mqtt::responder::Acknowledge;
    /// use tower_mqtt::{Request, Requester, Responder, Router};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let network = Network::new();
    /// network.keep_sessions(true);
    /// let (seen, mut begun) = tokio::sync::mpsc::unbounded_channel();
    /// let heat = async move || {
    ///     let _ = seen.send(());
    ///     std::future::pending::<()>().await
    /// };
    /// let builder = Responder::builder(network.link("kitchen")).acknowledge(Acknowledge::AfterAnswer);
    /// let responder = builder.serve(Router::new().route("heat", heat)).await?;
    ///
    /// let requester = Requester::builder(network.link("M7")).build().await?;
    /// let _call = tokio::spawn(requester.oneshot(Request::new("heat", "")?));
    /// begun.recv().await;
    /// assert_eq!(network.unacknowledged("kitchen"), 1); // on receipt it would be 0
    ///
    /// // So it is delivered again after a lost connection, and is executed twice.
    /// network.disconnect("kitchen");
    /// responder.link().disconnected().await;
    /// network.reconnect("kitchen");
    /// begun.recv().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn acknowledge(mut self, when: Acknowledge) -> Self {
        self.acknowledge = when;
        self
    }

    /// The link over which the handlers may make calls: this one when requests are acknowledged on
    /// receipt, a [sibling](Link::sibling) of it when they are acknowledged after the answer. In the
    /// second case the routes that they call must be served on another link as well.
    ///
    /// ```
    /// use tower::ServiceExt;
    /// use tower_mqtt::link::memory::Network;
    /// use tower_mqtt::responder::{Acknowledge, extract::State};
    /// use tower_mqtt::{Request, RequestError, Requester, Responder, Router};
    ///
    /// async fn menu(State(requester): State<Requester>) -> Result<String, RequestError> {
    ///     let soup = requester.oneshot(Request::new("soup", "")?).await?;
    ///     Ok(format!("today: {}", String::from_utf8_lossy(soup.payload())))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let network = Network::new();
    /// let soup = Router::new().route("soup", async || "miso");
    /// let kitchen = Responder::builder(network.link("kitchen")).serve(soup).await?;
    ///
    /// let builder = Responder::builder(network.link("waiter")).acknowledge(Acknowledge::AfterAnswer);
    /// let requester = Requester::builder(builder.link_for_calls().await?).build().await?;
    /// let waiter = builder.serve(Router::new().route("menu", menu).with_state(requester)).await?;
    ///
    /// let requester = Requester::builder(network.link("guest")).build().await?;
    /// let answer = requester.oneshot(Request::new("menu", "")?).await?;
    /// assert_eq!(answer.payload(), "today: miso");
    /// # drop((kitchen, waiter));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Link::sibling`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt.
    pub async fn link_for_calls(&self) -> Result<Link, ConnectError> {
        match self.acknowledge {
            Acknowledge::OnReceipt => Ok(self.link.clone()),
            Acknowledge::AfterAnswer => self.link.sibling().await,
        }
    }

    /// Allows only the response topics for which `allow` says so; it sees the request's parts, and
    /// so who sent it.
    ///
    /// With a policy, what is not a request is dropped and counted instead of being answered with
    /// 400: there is nothing that the policy could be asked about.
    ///
    /// In any case a response topic has no wildcards, is not one of the responder's own routes (an
    /// endless loop), and starts with `$` only where the dialect owns such topics.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::ServiceExt;
    /// use tower_mqtt::link::memory;
    /// use tower_mqtt::{Request, RequestError, Requester, Responder, Router, TopicName};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (machine, kitchen) = memory::pair();
    /// let responder = Responder::builder(kitchen)
    ///     .allow_response_topic(|topic, _| topic.as_str().starts_with("clients/"))
    ///     .serve(Router::new().route("ping", async || "pong"))
    ///     .await?;
    ///
    /// let usual = Requester::builder(machine.clone()).build().await?;
    /// assert_eq!(usual.oneshot(Request::new("ping", "")?).await?.payload(), "pong");
    ///
    /// let valve = TopicName::new("valves/3/open")?;
    /// let abusive = Requester::builder(machine).response_topic(valve).build().await?;
    /// let request = Request::new("ping", "")?.timeout(Duration::from_millis(100));
    /// assert_eq!(abusive.oneshot(request).await.unwrap_err(), RequestError::Timeout);
    /// assert_eq!(responder.stats().forbidden, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow_response_topic(
        mut self,
        allow: impl Fn(&TopicName, &Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.allowed = Some(Arc::new(allow));
        self
    }

    /// Subscribes to the router's routes and answers with its handlers. Returns when the
    /// subscriptions are acknowledged; the handlers run on the tokio runtime of this call.
    ///
    /// # Errors
    /// [`ServeError::Routes`] with everything that is wrong with the routes;
    /// [`ServeError::Configuration`] when the share name is not one, a dialect cannot share, a route
    /// is like the addresses of no dialect, a dialect's addresses are like no route, routes cross under
    /// a share name, or requests are acknowledged after the answer and there is a requester on the
    /// link;
    /// [`ServeError::Subscribe`] when the broker refuses a subscription;
    /// [`ServeError::Disconnected`] when the connection is lost meanwhile; [`ServeError::Closed`] when
    /// the link is closed.
    ///
    /// # Cancel safety
    /// Dropping the future undoes everything.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn serve(self, router: Router) -> Result<Responder, ServeError> {
        let filters = router.filters().map_err(ServeError::Routes)?;
        self.serve_service(filters, router).await
    }

    /// As [`serve`](Self::serve), with any service for the requests that match `filters`.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    ///
    /// # Cancel safety
    /// Dropping the future undoes everything.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn serve_service<S>(
        mut self,
        filters: impl IntoIterator<Item = TopicFilter>,
        service: S,
    ) -> Result<Responder, ServeError>
    where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        if self.dialects.is_empty() {
            self.dialects.push(Arc::new(Native::new()));
        }
        let wanted = self.wanted(filters)?;
        let subscriptions = without_copies(wanted.iter().map(|(subscription, _)| subscription))?;
        let readings = wanted.into_iter().map(|(s, dialect)| (s.filter, dialect)).collect();
        let (commands, queue) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        let counters = Arc::new(Counters::default());
        let tasks = if self.inline {
            Tasks::inline(commands.clone())
        } else {
            Tasks::on(&Handle::current(), commands.clone())
        };
        let holds = self.acknowledge == Acknowledge::AfterAnswer;
        let settings = Settings {
            _occupant: holds.then(|| self.link.enter(Role::Holding)).transpose()?,
            dialects: self.dialects,
            readings,
            subscriptions,
            acknowledge: self.acknowledge,
            allowed: self.allowed,
            slots: Arc::new(Semaphore::new(self.concurrency)),
            counters: Arc::clone(&counters),
        };
        let endpoint = Endpoint::new(settings, service, tasks, queue, ready);
        let responder = Responder { link: self.link, commands, counters };
        responder.link.attach(Box::new(endpoint)).await.map_err(|_| ServeError::Closed)?;
        is_ready.await.map_err(|_| ServeError::Closed)??;
        Ok(responder)
    }

    /// What the routes need, with the number of the dialect that each is for.
    fn wanted(
        &self,
        filters: impl IntoIterator<Item = TopicFilter>,
    ) -> Result<Vec<(Subscription, usize)>, ServeError> {
        let mut subscriptions: Vec<(Subscription, usize)> = Vec::new();
        let mut served = vec![false; self.dialects.len()];
        for filter in filters {
            let mut reached = false;
            for (number, dialect) in self.dialects.iter().enumerate() {
                for subscription in dialect.request_subscriptions(&filter) {
                    let subscription = (self.shared(subscription, &**dialect)?, number);
                    if !subscriptions.contains(&subscription) {
                        subscriptions.push(subscription);
                    }
                    (reached, served[number]) = (true, true);
                }
            }
            if !reached {
                let text = format!("no dialect has addresses like the route {filter}");
                return Err(ServeError::Configuration(text.into()));
            }
        }
        if subscriptions.is_empty() {
            return Err(ServeError::Routes(vec![RouteError::Empty]));
        }
        if let Some(idle) = served.iter().position(|served| !served) {
            let name = self.dialects[idle].name();
            let text = format!("no route is like the addresses of the dialect {name}");
            return Err(ServeError::Configuration(text.into()));
        }
        Ok(subscriptions)
    }

    /// The subscription under the share name, if there is one.
    fn shared(
        &self,
        mut subscription: Subscription,
        dialect: &dyn Dialect,
    ) -> Result<Subscription, ServeError> {
        let Some(name) = &self.share else { return Ok(subscription) };
        if dialect.answers_on_request_topic() {
            let what = "answers on the topic of the request, where others of the share name would \
                        take them for requests";
            let text = format!("share name {name:?}: {} {what}", dialect.name());
            return Err(ServeError::Configuration(text.into()));
        }
        subscription.filter = subscription.filter.shared(name).map_err(|error| {
            ServeError::Configuration(format!("share name {name:?}: {error}").into())
        })?;
        // [MQTT-3.8.3-4]
        subscription.no_local = false;
        Ok(subscription)
    }
}

impl fmt::Debug for ResponderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponderBuilder")
            .field("link", &self.link)
            .field("dialects", &self.dialects)
            .field("share", &self.share)
            .field("concurrency", &self.concurrency)
            .field("inline", &self.inline)
            .field("acknowledge", &self.acknowledge)
            .finish_non_exhaustive()
    }
}
