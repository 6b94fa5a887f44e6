//! Which devices are connected, by the names that dialects know them by.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use super::access::{Credentials, Identity};
use super::shared::ClientKey;
use crate::core::topic::TopicName;
use crate::dialect::rrpc::{aliyun, tencent};
use crate::dialect::{Addressee, Dialect};

/// Bytes of a name. Longer ones are not kept: no vendor has them, and anybody could send them.
const LONGEST_NAME: usize = 1024;

/// The dialects whose devices a hub knows without being told. Their topics belong to the vendors.
pub(super) fn known_dialects() -> Vec<Arc<dyn Dialect>> {
    vec![
        Arc::new(aliyun::system()),
        // Its topics look like custom ones of a product `sys`, so it comes first.
        #[cfg(feature = "json")]
        Arc::new(aliyun::thing_service()),
        Arc::new(aliyun::custom()),
        Arc::new(tencent::rrpc()),
        Arc::new(tencent::explorer()),
    ]
}

/// What a client may be called in a topic: its client identifier, whole and before the first `|`
/// (Aliyun adds parameters there), its user name, whole and before the first `;` (Tencent), and
/// what the authentication hook adds; nothing but the latter where the hook
/// [says so](Identity::without_claimed_names).
pub(super) fn names(credentials: &Credentials, identity: &Identity) -> Vec<Arc<str>> {
    let mut names = if identity.claims_names { claimed(credentials) } else { Vec::new() };
    names.extend(identity.devices.iter().cloned());
    names.retain(|name| (1..=LONGEST_NAME).contains(&name.len()));
    names
}

fn claimed(credentials: &Credentials) -> Vec<Arc<str>> {
    let before = |text: &str, end| text.split_once(end).map(|(name, _)| Arc::from(name));
    let user = credentials.username.as_deref();
    let mut names = vec![Arc::clone(&credentials.client_id)];
    names.extend(before(&credentials.client_id, '|'));
    names.extend(user.map(Arc::from));
    names.extend(user.and_then(|user| before(user, ';')));
    names
}

/// A client that is connected.
#[derive(Debug, Clone)]
pub(super) struct Present {
    pub(super) key: ClientKey,
    pub(super) client_id: Arc<str>,
    pub(super) identity: Identity,
}

/// Where a device is that a message is for.
#[derive(Debug)]
pub(super) enum Device {
    Offline,
    /// Perhaps with one who takes messages that it has not subscribed to.
    Connected {
        push_to: Option<ClientKey>,
    },
}

/// The devices of a hub. Asked only for messages that reach nobody, or whose sender is subscribed
/// to their topic itself.
#[derive(Debug)]
pub(super) struct Devices {
    dialects: Vec<Arc<dyn Dialect>>,
    /// Those who have a name, by the serial number of their key: the greatest connected last.
    table: RwLock<HashMap<Arc<str>, BTreeMap<u64, Present>>>,
}

impl Devices {
    pub(super) fn new(dialects: Vec<Arc<dyn Dialect>>) -> Self {
        Self { dialects, table: RwLock::default() }
    }

    pub(super) fn dialects(&self) -> impl Iterator<Item = &dyn Dialect> {
        self.dialects.iter().map(|dialect| &**dialect)
    }

    pub(super) fn arrive(&self, names: &[Arc<str>], client: &Present) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            let holders = table.entry(Arc::clone(name)).or_default();
            holders.insert(client.key.serial, client.clone());
        }
    }

    pub(super) fn leave(&self, names: &[Arc<str>], key: ClientKey) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            let Some(holders) = table.get_mut(name) else { continue };
            holders.remove(&key.serial);
            if holders.is_empty() {
                table.remove(name);
            }
        }
    }

    /// Whether the answer to a request on this topic goes to the topic itself, so that a client
    /// which answers whatever it hears would answer itself for ever.
    pub(super) fn echoes(&self, topic: &TopicName) -> bool {
        let mut same_topic =
            self.dialects.iter().filter(|dialect| dialect.answers_on_request_topic());
        same_topic.any(|dialect| dialect.addressee(topic).is_some())
    }

    /// The device that a message is for, as the first dialect says that knows. `None`: none knows, or
    /// it is the sender. Of those who have its name the one counts that connected last and `may_get`
    /// the message.
    pub(super) fn find(
        &self,
        topic: &TopicName,
        from: Option<ClientKey>,
        may_get: impl Fn(&Present) -> bool,
    ) -> Option<Device> {
        let Addressee { names, pushed, .. } =
            self.dialects.iter().find_map(|dialect| dialect.addressee(topic))?;
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut present = BTreeMap::new();
        for holders in names.iter().filter_map(|name| table.get(name.as_str())) {
            if from.is_some_and(|from| holders.contains_key(&from.serial)) {
                return None;
            }
            present.extend(holders);
        }
        if present.is_empty() {
            return Some(Device::Offline);
        }
        let able = present.into_values().rev().find(|client| pushed && may_get(client));
        Some(Device::Connected { push_to: able.map(|client| client.key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Protocol, Transport};

    fn named(client_id: &str, username: Option<&str>, identity: &Identity) -> Vec<String> {
        let credentials = Credentials {
            client_id: client_id.into(),
            username: username.map(str::to_owned),
            password: None,
            peer: None,
            protocol: Protocol::V311,
            transport: Transport::Tcp,
            #[cfg(feature = "tls")]
            certificate: None,
        };
        names(&credentials, identity).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_client_has_the_names_that_vendors_give_it() {
        let nobody = Identity::new("");
        let aliyun = named("p.d|securemode=3,ext=1|", Some("d&p"), &nobody);
        assert_eq!(aliyun, ["p.d|securemode=3,ext=1|", "p.d", "d&p"]);
        let tencent = named("pd", Some("pd;12010126;abcde;1700003600"), &nobody);
        assert_eq!(tencent, ["pd", "pd;12010126;abcde;1700003600", "pd"]);
        let gateway = Identity::new("gateway").device("p/1").device("p/2");
        assert_eq!(named("g", None, &gateway), ["g", "p/1", "p/2"]);
        let lamp = Identity::new("p/1").device("p/1").without_claimed_names();
        assert_eq!(named("p.2|ext=1|", Some("2&p;"), &lamp), ["p/1"]);
    }

    #[test]
    fn what_is_empty_or_too_long_is_no_name() {
        let long = "x".repeat(LONGEST_NAME + 1);
        let identity = Identity::new("").device(long.as_str()).device("");
        assert_eq!(named("|", Some(";"), &identity), ["|", ";"]);
        assert_eq!(named(&format!("{long}|"), Some(""), &identity), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_left_of_those_who_have_gone() {
        let devices = Devices::new(Vec::new());
        let names: [Arc<str>; 3] = ["a".into(), "b".into(), "a".into()];
        let key = |serial| ClientKey { worker: 0, serial, in_process: false };
        for key in [key(1), key(2)] {
            let identity = Identity::new("");
            devices.arrive(&names, &Present { key, client_id: "a".into(), identity });
        }
        devices.leave(&names, key(1));
        assert_eq!(devices.table.read().unwrap().len(), 2);
        devices.leave(&names, key(2));
        assert!(devices.table.read().unwrap().is_empty());
    }
}
