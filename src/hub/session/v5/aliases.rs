//! Numbers that a client uses instead of topics (MQTT 5 §3.3.2.3.4).

use ntex::util::{ByteString, HashMap};

/// As many as a client may use; CONNACK says so.
pub(super) const MAXIMUM: u16 = 16;

/// What the aliases of one client stand for.
#[derive(Debug, Default)]
pub(super) struct Aliases(HashMap<u16, ByteString>);

impl Aliases {
    /// Sets the topic of a message that has an alias: what the alias stands for, or, with a topic, what
    /// it stands for from now on. `false`: there is no such alias.
    pub(super) fn resolve(&mut self, alias: u16, topic: &mut ByteString) -> bool {
        if alias > MAXIMUM {
            // [MQTT-3.3.2-9]
            return false;
        }
        if !topic.is_empty() {
            // A copy, as the text is a part of a read buffer.
            self.0.insert(alias, ByteString::from(topic.as_str()));
            return true;
        }
        let Some(known) = self.0.get(&alias) else { return false };
        topic.clone_from(known);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_the_last_topic_that_it_came_with() {
        let mut aliases = Aliases::default();
        let mut resolve = |alias, topic: &str| {
            let mut topic = ByteString::from(topic);
            aliases.resolve(alias, &mut topic).then(|| topic.to_string())
        };
        assert_eq!(resolve(1, ""), None);
        assert_eq!(resolve(1, "a").as_deref(), Some("a"));
        assert_eq!(resolve(2, "b").as_deref(), Some("b"));
        assert_eq!(resolve(1, "").as_deref(), Some("a"));
        assert_eq!(resolve(1, "c").as_deref(), Some("c"));
        assert_eq!(resolve(1, "").as_deref(), Some("c"));
        assert_eq!(resolve(MAXIMUM + 1, "d"), None);
    }
}
