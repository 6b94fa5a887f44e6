//! What the hub knows of a sender, written into what it forwards.

use super::client::Client;
use super::worker::Worker;
use crate::core::packet::Message;
use crate::layer::authorize::hub_identity::{CLIENT_ID, IDENTITY};

impl Worker {
    /// Takes out what a sender says about itself in the hub's name, and writes what is known.
    pub(super) fn identify(&self, from: &Client, message: &mut Message) {
        let properties = &mut message.properties.user;
        properties.remove(CLIENT_ID);
        properties.remove(IDENTITY);
        if self.shared.identifies && from.identity.is_verified() {
            properties.push(CLIENT_ID, from.client_id.to_string());
            properties.push(IDENTITY, from.identity.as_str().to_owned());
        }
    }
}
