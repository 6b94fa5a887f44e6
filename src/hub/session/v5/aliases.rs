//! Numbers that a client uses instead of topics (MQTT 5 §3.3.2.3.4).

use ntex::util::{ByteString, HashMap};
use ntex_mqtt::v5::codec::DisconnectReasonCode;

/// As many as a client may use; CONNACK says so.
pub(super) const MAXIMUM: u16 = 16;

/// What the aliases of one client stand for.
#[derive(Debug, Default)]
pub(super) struct Aliases(HashMap<u16, ByteString>);

impl Aliases {
    /// Sets the topic of a message that has an alias: what the alias stands for, or, with a topic, what
    /// it stands for from now on.
    ///
    /// # Errors
    /// What a client is told that uses an alias that it may not use, or that stands for nothing.
    pub(super) fn resolve(
        &mut self,
        alias: u16,
        topic: &mut ByteString,
    ) -> Result<(), DisconnectReasonCode> {
        if alias > MAXIMUM {
            // [MQTT-3.3.2-9]
            return Err(DisconnectReasonCode::TopicAliasInvalid);
        }
        if !topic.is_empty() {
            // A copy, as the text is a part of a read buffer.
            self.0.insert(alias, ByteString::from(topic.as_str()));
            return Ok(());
        }
        // MQTT 5 §3.3.2.3.4
        let known = self.0.get(&alias).ok_or(DisconnectReasonCode::ProtocolError)?;
        topic.clone_from(known);
        Ok(())
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
            aliases.resolve(alias, &mut topic).map(|()| topic.to_string())
        };
        assert_eq!(resolve(1, ""), Err(DisconnectReasonCode::ProtocolError));
        assert_eq!(resolve(1, "a").as_deref(), Ok("a"));
        assert_eq!(resolve(2, "b").as_deref(), Ok("b"));
        assert_eq!(resolve(1, "").as_deref(), Ok("a"));
        assert_eq!(resolve(1, "c").as_deref(), Ok("c"));
        assert_eq!(resolve(1, "").as_deref(), Ok("c"));
        assert_eq!(resolve(MAXIMUM + 1, "d"), Err(DisconnectReasonCode::TopicAliasInvalid));
    }
}
