//! The path of one call: who may, to whom, through which gateway, in which dialect.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::address::is_own;
use super::explain::{absent, explain, not_built, unsent};
use super::limits::{Limiter, Slot};
use super::message_id;
use super::publish::Outlet;
use super::ways::{Asker, Way, Ways};
use crate::core::packet::Message;
use crate::core::packet::Properties;
use crate::core::topic::TopicFilter;
use crate::core::topic::TopicName;
use crate::error::RequestError;
use crate::gateway::call::{Answer, Call, CallError, Failure, Publication};
use crate::gateway::cluster::{Cluster, MAX_MEMBERS, Relayed};
use crate::gateway::config::Product;
use crate::gateway::devices::{DeviceStore, Roster, Whereabouts};
use crate::gateway::ended::{EndedCalls, Telling};
use crate::gateway::keys::Keys;
use crate::gateway::level::is_level;
use crate::gateway::now;
use crate::gateway::products::Products;
use crate::message::Request;
use crate::message::Response;

/// How long a server may take to acknowledge a publication.
const PUBLISH: Duration = Duration::from_secs(10);

const OVER: CallError = CallError::Unavailable("the gateway is shutting down");
const GIVEN_UP: CallError = CallError::Lost("the gateway has shut down");
const NOT_SUBSCRIBED: CallError = CallError::Unavailable("the broker does not answer");
const NO_STORE: CallError = CallError::Unavailable("the device store is not available");

/// Everything that a call needs.
pub(super) struct Switchboard {
    pub(super) products: Arc<Products>,
    pub(super) store: Arc<dyn DeviceStore>,
    pub(super) keys: Arc<Keys>,
    pub(super) roster: Option<Arc<Roster>>,
    pub(super) limiter: Arc<Limiter>,
    pub(super) ways: Ways,
    pub(super) outlet: Outlet,
    pub(super) response_topics: Vec<TopicFilter>,
    pub(super) cluster: Option<Cluster>,
    pub(super) ended: EndedCalls,
    /// Calls in flight are given up.
    pub(super) over: CancellationToken,
}

/// A call that may be made.
struct Admitted<'a> {
    product: &'a Product,
    way: Way,
    address: TopicName,
    deadline: Instant,
    timeout: Duration,
    _slot: Slot,
}

impl Switchboard {
    /// Makes a call, wherever its device is called from.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up, and frees what it held at once.
    pub(super) async fn call(&self, call: Call) -> Result<Answer, Failure> {
        let mut telling = Telling::new(&self.ended, &self.products, call);
        let result = self.answer(&mut telling.call).await;
        telling.outcome = outcome(&result);
        result
    }

    async fn answer(&self, call: &mut Call) -> Result<Answer, Failure> {
        let admitted = self.admit(call)?;
        let routed = self.route(&admitted, call);
        self.over.run_until_cancelled(routed).await.unwrap_or(Err(GIVEN_UP.into()))
    }

    /// Makes a call that another gateway has passed on, which says that it is this one's: it is not
    /// passed on again, whatever this one thinks, and the other one tells of it.
    pub(super) async fn call_here(&self, mut call: Call) -> Result<Answer, Failure> {
        let admitted = self.admit(&call)?;
        let made = self.make(&admitted, &mut call);
        self.over.run_until_cancelled(made).await.unwrap_or(Err(GIVEN_UP.into()))
    }

    fn admit(&self, call: &Call) -> Result<Admitted<'_>, CallError> {
        let Call { product, device, key, .. } = call;
        let (product, slot) = self.enter(product, device, key.as_ref())?;
        let ext = || self.says_ext(product, device);
        let way = Way::to(&call.target, product.dialect, ext)?;
        // Before it is passed on: not every text arrives as it was.
        let address = way.address(call, product.dialect)?;
        let times = self.ways.times(way, product).ok_or(OVER)?;
        let timeout = times.fit(call.timeout.or(product.timeout));
        let deadline = now() + timeout;
        Ok(Admitted { product, way, address, deadline, timeout, _slot: slot })
    }

    /// Who may, and how many.
    fn enter(
        &self,
        product: &str,
        device: &str,
        key: Option<&Arc<str>>,
    ) -> Result<(&Product, Slot), CallError> {
        let allowed = |id: &Arc<str>| self.keys.find(id).is_some_and(|key| key.may_call(product));
        if !key.is_none_or(allowed) {
            return Err(CallError::NotAllowed(product.into()));
        }
        let found = self.products.get(product);
        let found = found.ok_or_else(|| CallError::NoSuchProduct(product.into()))?;
        if !is_level(device) {
            return Err(CallError::NoSuchDevice(device.into()));
        }
        Ok((found, self.limiter.enter(product, device, key)?))
    }

    /// Passes a call on to the gateway that owns its device, or makes it.
    async fn route(&self, admitted: &Admitted<'_>, call: &mut Call) -> Result<Answer, Failure> {
        let Some(cluster) = &self.cluster else { return self.make(admitted, call).await };
        // Each turn but the last takes away one that is not there.
        for _ in 0..=MAX_MEMBERS {
            let Some(owner) = cluster.owner(&call.product, &call.device) else {
                return self.make(admitted, call).await;
            };
            match cluster.relay(&owner, call, admitted.deadline).await {
                Relayed::Ended(result) => return result,
                Relayed::NotThere => {}
            }
        }
        Err(CallError::Unavailable("no gateway takes calls to this device").into())
    }

    /// Asks the device. It takes the payload out of the call, which is not kept until there is an answer.
    async fn make(&self, admitted: &Admitted<'_>, call: &mut Call) -> Result<Answer, Failure> {
        let Admitted { product, way, deadline, .. } = *admitted;
        if self.roster.is_none() {
            self.exists(&product.id, &call.device, deadline).await?;
        }
        // It subscribes to the topic itself, so no server can say that the device has not.
        if way == Way::TencentClientToken
            && let Some(why) = self.find(&product.id, &call.device).and_then(absent)
        {
            let why = self.named(why, &product.id, &call.device, deadline).await;
            return Err(why.into());
        }
        let asker = self.ways.asker(way, product, &call.device, &call.target);
        let asker = timeout_at(deadline.into(), asker).await;
        let asker = asker.map_err(|_| NOT_SUBSCRIBED)?.map_err(not_built)?;
        let Call { device, payload, content_type, .. } = call;
        let mut request =
            Request::to(admitted.address.clone(), mem::take(payload)).deadline(deadline);
        request.parts_mut().timeout = Some(asker.times().timeout(admitted.timeout));
        request.parts_mut().content_type = content_type.take();
        let (result, message_id) = ask(asker, request, deadline).await;
        match result {
            Ok(response) => Ok(Answer::of(response, message_id.unwrap_or_default())),
            Err(error) => {
                let whereabouts = || self.find(&product.id, device);
                let why = explain(error, self.limiter.limits().in_flight, whereabouts);
                let why = self.named(why, &product.id, device, deadline).await;
                Err(Failure { why, message_id })
            }
        }
    }

    /// Publishes to one of a device's own topics.
    pub(super) async fn publish(&self, publication: Publication) -> Result<u64, Failure> {
        let Publication { product, device, key, .. } = &publication;
        let (found, _slot) = self.enter(product, device, key.as_ref())?;
        if !is_own(found.dialect, product, device, &publication.topic) {
            return Err(
                CallError::Invalid("the topic is not one of the device's own".into()).into()
            );
        }
        let (product, device) = (product.clone(), device.clone());
        let deadline = now() + PUBLISH;
        if self.roster.is_none() {
            self.exists(&product, &device, deadline).await?;
        }
        let message_id = message_id::fresh();
        let published = timeout_at(deadline.into(), self.outlet.publish(message(publication)));
        let published = self.over.run_until_cancelled(published).await.ok_or(GIVEN_UP)?;
        let error = match published {
            Ok(Ok(())) => return Ok(message_id),
            Ok(Err(error)) => error,
            Err(_) => RequestError::Timeout,
        };
        let why = explain(error, self.limiter.limits().in_flight, || self.find(&product, &device));
        let why = self.named(why, &product, &device, deadline).await;
        Err(Failure { why, message_id: Some(message_id) })
    }

    /// Where a device is, if there is a roster.
    fn find(&self, product: &str, device: &str) -> Option<Whereabouts> {
        self.roster.as_ref().map(|roster| roster.find(product, device))
    }

    /// Whether a device has said `ext=1`; what its product says when that is not seen.
    fn says_ext(&self, product: &Product, device: &str) -> bool {
        match self.find(&product.id, device) {
            Some(Whereabouts::Connected { ext, .. }) => ext,
            _ => product.ext,
        }
    }

    /// With the hub, what a device that is not connected is called: it may be none at all, or disabled.
    async fn named(&self, why: CallError, product: &str, device: &str, at: Instant) -> CallError {
        let absent = matches!(why, CallError::Offline | CallError::HalfOpen);
        if absent && self.roster.is_some() {
            // A store that cannot say leaves it at that.
            let known = self.exists(product, device, at).await;
            return known.err().filter(|why| *why != NO_STORE).unwrap_or(why);
        }
        why
    }

    /// Whether there is such a device, and it may be called.
    async fn exists(&self, product: &str, device: &str, at: Instant) -> Result<(), CallError> {
        match timeout_at(at.into(), self.store.find(product, device)).await {
            Ok(Ok(Some(device))) if device.disabled => Err(CallError::Disabled),
            Ok(Ok(Some(_))) => Ok(()),
            Ok(Ok(None)) => Err(CallError::NoSuchDevice(device.into())),
            Ok(Err(_)) | Err(_) => Err(NO_STORE),
        }
    }
}

/// Asks, and says under which id.
async fn ask(
    asker: Asker,
    request: Request,
    deadline: Instant,
) -> (Result<Response, RequestError>, Option<u64>) {
    let mut requester = asker.requester;
    match timeout_at(deadline.into(), requester.ready()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return (Err(unsent(error)), None),
        Err(_) => return (Err(RequestError::Timeout), None),
    }
    let call = requester.call(request);
    let id = call.id().and_then(|id| message_id::number(id));
    (call.await, id)
}

/// How a call has ended, in one word.
fn outcome(result: &Result<Answer, Failure>) -> &'static str {
    match result {
        Ok(answer) if (200..400).contains(&answer.status.code()) => "ok",
        Ok(_) => "device_error",
        Err(failure) => failure.why.code(),
    }
}

fn message(publication: Publication) -> Message {
    let properties = Properties {
        response_topic: publication.response_topic,
        correlation_data: publication.correlation_data,
        message_expiry: publication.message_expiry,
        content_type: publication.content_type,
        utf8_payload: publication.utf8_payload,
        user: publication.user_properties,
    };
    let message = Message::new(publication.topic, publication.payload);
    Message { qos: publication.qos, properties, ..message }
}
