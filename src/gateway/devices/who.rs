//! How those who have been let in are named: `{product}/{device}`, and `key:{id}` for a server.

use std::sync::Arc;

use crate::gateway::level::is_level;
use crate::hub::Identity;

/// No product has a colon in its id.
const KEY: &str = "key:";

/// The id of the access key that a server has logged in with, by the name that the hub writes into its
/// requests.
pub(crate) fn key_of(identity: &str) -> Option<&str> {
    identity.strip_prefix(KEY)
}

/// A device by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) product: &'a str,
    pub(super) device: &'a str,
}

/// Who has been let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who<'a> {
    Device(Name<'a>),
    /// A server, with this access key.
    Key(&'a str),
}

impl<'a> Who<'a> {
    pub(super) fn of(identity: &'a Identity) -> Option<Self> {
        if !identity.is_verified() {
            return None;
        }
        let name = identity.as_str();
        match key_of(name) {
            Some(id) => Some(Self::Key(id)),
            None => Name::parse(name).map(Self::Device),
        }
    }
}

impl<'a> Name<'a> {
    /// `None`: it is no `{product}/{device}`, or cannot stand in a topic.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (product, device) = text.split_once('/')?;
        let name = Self { product, device };
        name.is_valid().then_some(name)
    }

    /// Whether both are what a topic can have as a level, so that the device's own topics are nobody
    /// else's.
    pub(super) fn is_valid(self) -> bool {
        [self.product, self.device].into_iter().all(is_level)
    }

    /// Who it is for the hub. Whatever else a device says of itself names no device: its client
    /// identifier may be any text.
    pub(super) fn identity(self) -> Identity {
        let name: Arc<str> = format!("{}/{}", self.product, self.device).into();
        Identity::new(Arc::clone(&name)).device(name).without_claimed_names()
    }
}

/// Who a server is for the hub.
pub(super) fn identity_of_key(id: &str) -> Identity {
    Identity::new(format!("{KEY}{id}")).without_claimed_names()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_read_as_it_was_written() {
        let lamp = Name { product: "a1", device: "lamp 1" };
        let identity = lamp.identity();
        assert_eq!(Who::of(&identity), Some(Who::Device(lamp)));
        assert_eq!(identity.devices().collect::<Vec<_>>(), ["a1/lamp 1"]);
        assert_eq!(Who::of(&identity_of_key("LT/AI")), Some(Who::Key("LT/AI")));
    }

    #[test]
    fn what_could_reach_the_topics_of_others_is_no_device() {
        for name in [
            "",
            "a",
            "/a",
            "a/",
            "a/b/c",
            "+/a",
            "a/+",
            "#/a",
            "a/#",
            "$sys/a",
            "a/b\0",
            "a/\u{FFFF}",
        ] {
            assert_eq!(Who::of(&Identity::new(name)), None, "{name:?}");
        }
    }
}
