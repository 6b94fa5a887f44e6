//! Several gateways behind one broker, which share the devices among them.
//!
//! Tencent's message ids are short and come round again, and some devices take one call at a time. So one
//! gateway makes all the calls to a device: its [owner](owner). The others pass theirs on to it, as native
//! requests to `gateways/{name}/{id}/call`, and hand its answers back. All know who is alive because each says
//! so on `gateways/{name}/alive/{id}`, three times in the time after which it counts as dead.
//!
//! | a gateway | the others |
//! |---|---|
//! | comes | hear it, and say at once that they are there; a third of the time after which one is dead later it takes calls |
//! | shuts down | hear that it leaves, or are told so with the next call, and take over at once; what it has in flight it ends |
//! | is killed | learn it from the broker with the next call (nobody is subscribed), else when it was silent for too long; what was passed on to it fails then |
//! | loses its broker | as when it is killed; it fails its own calls, and is back with the connection |
//!
//! A call is passed on once: the gateway that gets it makes it, whatever it thinks of the owner. It counts
//! as in flight at both, to the device and of the gateway; of the key only where it was made, so the limit
//! of a key is one for each gateway. When the one who has asked hangs up, the owner is told so on
//! `gateways/{name}/{id}/hung-up`, and gives the call up. That is said once: if it is lost, the call ends
//! there with the device's answer, or at its deadline.
//!
//! A signed request of Aliyun's is taken once in the whole cluster: each gateway tells the others of every nonce
//! that it has taken, on `gateways/{name}/nonces`. They remember as many of a key as of their own, counted
//! apart, and drop what there is no room for. That is said once, at QoS 0, and nobody waits for it. So a
//! request can be repeated at another gateway in the moment until that one has heard; if it has started
//! since, or had lost the broker meanwhile; and if the gateway that took it could not tell, as it had no
//! connection or too much to send.
//!
//! Two gateways with one `id` would both get what is passed on. That is not prevented; they log a warning.
//!
//! # What cannot be excluded
//!
//! Around the moment when one comes or goes, two may call one device: while they disagree about who is
//! alive, which is at most the time after which one is dead, and while the former owner ends what it has
//! in flight. Two calls may then be in flight to a device that takes one, and short ids of two gateways may
//! meet: only then could an answer be taken for that to another call. It hardly happens, as each begins at a
//! random one of 55,536. (Giving each gateway a part of the ids would exclude it for as many gateways as
//! there are parts, and leave each so few that a minute of unanswered calls uses them up.)
//!
//! # Who may say so
//!
//! The broker's rules must keep `gateways/#` for gateways: whoever may publish there can take devices over,
//! and call them.

mod announcer;
mod forward;
mod hang_ups;
mod members;
mod nonces;
mod owner;

use std::convert::Infallible;
use std::fmt;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;
use tower::{Service, ServiceExt};

use self::announcer::{Announcer, Leave};
use self::hang_ups::HangUps;
pub(super) use self::members::MAX_MEMBERS;
use self::members::{Member, Members};
pub(super) use self::nonces::Nonces;
use super::call::{Answer, Call, CallError, Failure};
use super::calls::{Outlet, explain, unsent};
use super::config;
use super::level::is_level;
use super::now;
use crate::core::packet::Message;
use crate::core::packet::Qos;
use crate::core::topic::TopicFilter;
use crate::core::topic::TopicName;
use crate::error::RequestError;
use crate::error::ServeError;
use crate::id;
use crate::link::Link;
use crate::message::{Request, Response, Status};
use crate::requester::Requester;
use crate::responder::Responder;

/// After how long a gateway may say that it is dead without a word. What another says beyond that is
/// not believed.
pub(super) const DEAD_AFTER: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_mins(10);

/// The level below which all announce themselves: no gateway is called so.
pub(super) const ALIVE: &str = "alive";

/// How long the broker may take to say that nobody has got a call, when the gateway is known to be dead.
const LAST_WORD: Duration = Duration::from_millis(200);

/// The last level of the topic on which a gateway hears that callers have hung up.
const HANG_UPS: &str = "hung-up";

/// The last level of the topic on which all hear of nonces.
const NONCES: &str = "nonces";

/// Nobody waits for it.
const HUNG_UP: CallError = CallError::Lost("the caller has hung up");

/// This gateway among the others.
#[derive(Debug)]
pub(super) struct Cluster {
    name: String,
    prefix: String,
    dead_after: Duration,
    in_flight: usize,
    members: Arc<Members>,
    requester: Requester,
    outlet: Outlet,
    hang_ups: Arc<HangUps>,
    leave: mpsc::Sender<Leave>,
}

/// What [joining](Cluster::join) takes, once.
#[derive(Debug)]
pub(super) struct Joining {
    leaves: mpsc::Receiver<Leave>,
    nonces: Nonces,
}

/// What became of a call that was passed on.
#[derive(Debug)]
pub(super) enum Relayed {
    Ended(Result<Answer, Failure>),
    /// Nobody has it, and the gateway is no longer among the members.
    NotThere,
}

impl Cluster {
    /// Prepares to join: until [`join`](Self::join) it owns all devices. `outlet` is one on the same link.
    ///
    /// # Errors
    /// As [`RequesterBuilder::build`](crate::requester::RequesterBuilder::build);
    /// [`ServeError::Configuration`] when the name or the id is not one level of a topic.
    pub(super) async fn new(
        link: &Link,
        config: &config::Cluster,
        in_flight: usize,
        outlet: Outlet,
        nonces: Nonces,
    ) -> Result<(Self, Joining), ServeError> {
        let own = match &config.id {
            Some(id) => id.clone(),
            None => String::from_utf8_lossy(&id::fresh_text()).into_owned(),
        };
        for text in [&config.name, &own] {
            if !is_level(text) {
                return Err(wrong(format_args!("{text:?} is not one level of a topic")));
            }
        }
        if own == ALIVE {
            return Err(wrong(format_args!("no gateway can be called {ALIVE:?}")));
        }
        let requester = Requester::builder(link.clone());
        let requester = requester.max_in_flight(in_flight.saturating_mul(2)).build().await?;
        let (leave, leaves) = mpsc::channel(1);
        let prefix = format!("gateways/{}", config.name);
        let topic = TopicName::new(format!("{prefix}/{NONCES}")).map_err(wrong)?;
        nonces.tell_on(topic, outlet.clone());
        let cluster = Self {
            name: config.name.clone(),
            prefix,
            dead_after: config.dead_after,
            in_flight,
            members: Arc::new(Members::new(own.into())),
            requester,
            outlet,
            hang_ups: Arc::new(HangUps::new()),
            leave,
        };
        Ok((cluster, Joining { leaves, nonces }))
    }

    /// What all members call themselves.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes the calls that others pass on. `make` returns `None` when it takes no more.
    ///
    /// # Errors
    /// As [`ResponderBuilder::serve`](crate::responder::ResponderBuilder::serve).
    pub(super) async fn serve<F, Fut>(&self, link: &Link, make: F) -> Result<Responder, ServeError>
    where
        F: Fn(Call) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Option<Result<Answer, Failure>>> + Send,
    {
        let topic = self.topic(self.members.own()).map_err(wrong)?;
        // An answer goes to who has asked, which is a requester's topic.
        let prefix = format!("{}/", self.prefix);
        // Twice as many as may be in flight, so that one too many gets as far as being told so.
        let builder = Responder::builder(link.clone())
            .concurrency(self.in_flight.saturating_mul(2))
            .allow_response_topic(move |topic, _| !topic.as_str().starts_with(&prefix));
        let hang_ups = Arc::clone(&self.hang_ups);
        let service = tower::service_fn(move |request: Request| {
            let (make, hang_ups) = (make.clone(), Arc::clone(&hang_ups));
            async move {
                let id = request.parts().correlation_data.clone().unwrap_or_default();
                let Some(call) = forward::call(request) else {
                    let status = Status::BAD_REQUEST.with_message("this is no call");
                    return Ok::<_, Infallible>(Response::error(status));
                };
                let ended = hang_ups.begin(id, now()).unless_hung_up(make(call)).await;
                let result = ended.unwrap_or(Some(Err(HUNG_UP.into())));
                Ok(result.map_or_else(forward::leaving, forward::response))
            }
        });
        builder.serve_service([TopicFilter::exact(&topic)], service).await
    }

    /// Becomes a member, and returns when the others had the time to say that they are, too.
    ///
    /// # Errors
    /// [`ServeError::Subscribe`] when the broker refuses, [`ServeError::Disconnected`] and
    /// [`ServeError::Closed`] when it goes away meanwhile.
    pub(super) async fn join(&self, link: &Link, joining: Joining) -> Result<(), ServeError> {
        let Joining { leaves, nonces } = joining;
        let (ready, is_ready) = oneshot::channel();
        let (members, hang_ups) = (Arc::clone(&self.members), Arc::clone(&self.hang_ups));
        let announcer =
            Announcer::new(members, hang_ups, nonces, &self.prefix, self.dead_after, leaves, ready);
        let announcer = Box::new(announcer.map_err(wrong)?);
        link.attach(announcer).await.map_err(|_| ServeError::Closed)?;
        is_ready.await.map_err(|_| ServeError::Closed)??;
        tokio::time::sleep(Announcer::interval(self.dead_after)).await;
        Ok(())
    }

    /// Tells the others to take over. Returns when the broker knows. From now on the devices are theirs,
    /// if there are any others.
    pub(super) async fn leave(&self) {
        self.members.leave();
        let (done, is_done) = oneshot::channel();
        if self.leave.send(done).await.is_ok() {
            let _ = is_done.await;
        }
    }

    /// Tells the others to take over, without waiting until they know.
    pub(super) fn abandon(&self) {
        self.members.leave();
        // It fails when it is leaving, or the connection is closed.
        let _ = self.leave.try_send(oneshot::channel().0);
    }

    /// It takes no more calls from the others.
    pub(super) fn is_leaving(&self) -> bool {
        self.members.is_leaving()
    }

    /// The other gateway that a device belongs to; `None`: this one.
    pub(super) fn owner(&self, product: &str, device: &str) -> Option<Member> {
        self.members.owner(product, device)
    }

    /// Passes a call on.
    pub(super) async fn relay(&self, to: &Member, call: &Call, deadline: Instant) -> Relayed {
        // It has died since it was found.
        if to.dead.is_cancelled() {
            return Relayed::NotThere;
        }
        let Ok(topic) = self.topic(&to.id) else {
            self.members.left(&to.id);
            return Relayed::NotThere;
        };
        let request = forward::request(topic, call).deadline(deadline);
        let left = deadline.saturating_duration_since(now());
        let mut asked = pin!(self.ask(to, request.timeout(left), deadline));
        let mut answer = to.dead.run_until_cancelled(asked.as_mut()).await;
        if answer.is_none() {
            // Of several calls the first learns that nobody is there, and the others are about to.
            answer = tokio::time::timeout(LAST_WORD, asked).await.ok();
        }
        let Some(answer) = answer else {
            let why = CallError::Lost("the gateway that calls the device has died");
            return Relayed::Ended(Err(why.into()));
        };
        match answer {
            Ok(response) => {
                if let Some(result) = forward::result(response, call) {
                    return Relayed::Ended(result);
                }
                self.members.left(&to.id);
                Relayed::NotThere
            }
            Err(RequestError::NoResponder) => {
                tracing::warn!(gateway = &*to.id, "a gateway is not there");
                self.members.died(&to.id);
                Relayed::NotThere
            }
            Err(error) => {
                let why = explain(error, self.in_flight, || None);
                Relayed::Ended(Err(why.into()))
            }
        }
    }

    async fn ask(
        &self,
        to: &Member,
        request: Request,
        deadline: Instant,
    ) -> Result<Response, RequestError> {
        let mut requester = self.requester.clone();
        let ready = timeout_at(deadline.into(), requester.ready()).await;
        let asked = ready.map_err(|_| RequestError::Timeout)?.map_err(unsent)?.call(request);
        let mut caller = Caller { cluster: self, to, id: asked.id().cloned() };
        let result = asked.await;
        caller.id = None;
        result
    }

    fn topic(&self, id: &str) -> Result<TopicName, crate::core::topic::TopicError> {
        TopicName::new(format!("{}/{id}/call", self.prefix))
    }
}

/// Tells the owner when the caller hangs up, unless there is no id any more.
struct Caller<'a> {
    cluster: &'a Cluster,
    to: &'a Member,
    id: Option<Bytes>,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let topic = format!("{}/{}/{HANG_UPS}", self.cluster.prefix, self.to);
        if let Ok(topic) = TopicName::new(topic) {
            let message = Message { qos: Qos::AtLeastOnce, ..Message::new(topic, id) };
            self.cluster.outlet.tell(message);
        }
    }
}

fn wrong(what: impl fmt::Display) -> ServeError {
    ServeError::Configuration(format!("cluster: {what}").into())
}

#[cfg(test)]
mod tests;
