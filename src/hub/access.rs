//! Who a client is, and what it may do.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::listener::Transport;
use crate::core::packet::ReasonCode;
use crate::core::topic::{TopicFilter, TopicName, encode_level};
#[cfg(feature = "tls")]
use crate::tls::PeerCertificate;

/// What a client shows when it connects.
#[derive(Clone)]
#[non_exhaustive]
pub struct Credentials {
    /// The client identifier; made by the hub when the client sent none.
    pub client_id: Arc<str>,
    /// The user name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Bytes>,
    /// Where it connects from; `None` over a Unix socket.
    pub peer: Option<SocketAddr>,
    /// What it speaks.
    pub protocol: Protocol,
    /// What that goes over.
    pub transport: Transport,
    /// The certificate that it has shown over TLS, verified with the listener's
    /// [client authorities](crate::tls::ServerTlsBuilder::client_authorities).
    #[cfg(feature = "tls")]
    pub certificate: Option<PeerCertificate>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut credentials = f.debug_struct("Credentials");
        #[cfg(feature = "tls")]
        credentials.field("certificate", &self.certificate);
        credentials
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("peer", &self.peer)
            .field("protocol", &self.protocol)
            .field("transport", &self.transport)
            .finish()
    }
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// MQTT 3.1.1, or 3.1, which is served as if it were 3.1.1.
    V311,
    /// MQTT 5.
    V5,
    /// A link of this process.
    InProcess,
}

/// Who a client turned out to be, and for which devices it answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    name: Arc<str>,
    verified: bool,
    /// Its client identifier and its user name are names of a device, too.
    pub(super) claims_names: bool,
    pub(super) devices: Arc<Vec<Arc<str>>>,
}

impl Identity {
    /// An identity by this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), verified: true, claims_names: true, devices: Arc::default() }
    }

    /// What a client says of itself, and nobody has verified.
    pub(super) fn claimed(client_id: Arc<str>) -> Self {
        Self { verified: false, ..Self::new(client_id) }
    }

    /// Says that the client answers for this device too, as a gateway does for those behind it. The
    /// name is one of those that a dialect gives to the device, often `product/device`. Call it again
    /// for more.
    ///
    /// ```
    /// use tower_mqtt::hub::Identity;
    ///
    /// let gateway = Identity::new("gateway").device("lamps/1").device("lamps/2");
    /// assert_eq!(gateway.devices().collect::<Vec<_>>(), ["lamps/1", "lamps/2"]);
    /// ```
    pub fn device(mut self, name: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.devices).push(name.into());
        self
    }

    /// Says that the client answers for the devices that were [added](Self::device) and for no other:
    /// neither its client identifier nor its user name is the name of a device. For a hook that has not
    /// verified both as a whole, as where a device chooses its client identifier freely.
    ///
    /// ```
    /// use tower_mqtt::hub::Identity;
    ///
    /// // Whatever client identifier it has, what is for lamps/2 never gets to it.
    /// let lamp = Identity::new("lamps/1").device("lamps/1").without_claimed_names();
    /// # assert_eq!(lamp.devices().len(), 1);
    /// ```
    pub fn without_claimed_names(mut self) -> Self {
        self.claims_names = false;
        self
    }

    /// The devices that it answers for, besides itself.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = &str> {
        self.devices.iter().map(|name| &**name)
    }

    /// Whether an authentication hook or a client certificate says so, or the client is a link of the
    /// hub's process. `false`: it is the client identifier, which everybody can choose. A hub may have
    /// listeners of both kinds, so a hook that [authorizes](super::HubBuilder::authorize) asks this first.
    pub fn is_verified(&self) -> bool {
        self.verified
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether this one gives its client identifier up to another: a verified one to itself only.
    pub(super) fn yields_to(&self, other: &Self) -> bool {
        !self.verified || (other.verified && self.name == other.name)
    }
}

/// What a client wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access<'a> {
    /// Publish to this topic.
    Publish(&'a TopicName),
    /// Subscribe to this filter.
    Subscribe(&'a TopicFilter),
}

pub(super) type Authenticated = Pin<Box<dyn Future<Output = Result<Identity, ReasonCode>> + Send>>;
pub(super) type Authenticate = Arc<dyn Fn(Credentials) -> Authenticated + Send + Sync>;
pub(super) type Authorize = Arc<dyn Fn(&Identity, &str, Access<'_>) -> bool + Send + Sync>;

/// The topic under which the answers to this client go.
pub(super) fn response_base(client_id: &str) -> Option<TopicName> {
    TopicName::new(format!("clients/{}/responses", encode_level(client_id))).ok()
}

/// Whether a topic or a filter lies in the part that belongs to one client alone.
///
/// A filter with a wildcard in the place of the client identifier counts as well.
pub(super) fn is_private(topic: &str) -> bool {
    let behind = topic.strip_prefix("clients/").and_then(|rest| rest.split_once('/'));
    let below = behind.and_then(|(_, rest)| rest.strip_prefix("responses"));
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether this client may subscribe to a private filter: only to its own.
pub(super) fn owns(base: &TopicName, filter: &TopicFilter) -> bool {
    let filter = filter.filter();
    let below = filter.strip_prefix(base.as_str());
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_responses_belong_to_a_client() {
        let base = response_base("a").unwrap();
        let owns = |filter: &str| owns(&base, &TopicFilter::new(filter).unwrap());
        assert!(owns("clients/a/responses"));
        assert!(owns("clients/a/responses/1"));
        assert!(owns("clients/a/responses/#"));
        assert!(!owns("clients/+/responses"));
        assert!(!owns("clients/b/responses"));
        assert!(!owns("clients/a/responses2"));
        assert!(is_private("clients/+/responses/#") && is_private("clients/b/responses"));
        assert!(!is_private("clients/b") && !is_private("clients/b/c/responses"));
    }

    #[test]
    fn a_client_id_stays_within_its_level() {
        assert_eq!(response_base("a/b+#").unwrap().as_str().split('/').count(), 3);
    }
}
