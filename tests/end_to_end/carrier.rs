//! What carries MQTT to the hub besides TCP.

use std::path::PathBuf;

use tower_mqtt::Hub;
use tower_mqtt::hub::{Listener, Transport};
use tower_mqtt::link::{Client, ClientBuilder};
use tower_mqtt::tls::{ClientTls, ServerTls};

use super::certificates::Authority;

/// The certificates of a hub, and its socket beside them.
pub(crate) struct Carrier {
    transport: Transport,
    authority: Authority,
}

impl Carrier {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport, authority: Authority::new("broker") }
    }

    pub(crate) fn listener(&self) -> Listener {
        let address = "127.0.0.1:0";
        match self.transport {
            Transport::Tls => Listener::tls(address, self.tls()),
            Transport::WebSocket => Listener::ws(address),
            Transport::SecureWebSocket => Listener::wss(address, self.tls()),
            Transport::Unix => Listener::unix(self.socket()),
            other => unreachable!("{other:?} needs no carrier"),
        }
    }

    pub(crate) fn client(&self, hub: &Hub) -> ClientBuilder {
        let mut listeners = hub.listeners().iter();
        let listening = listeners.find(|listening| listening.transport() == self.transport);
        let client = Client::builder(&listening.expect("it listens").to_string());
        match self.transport {
            Transport::Tls | Transport::SecureWebSocket => {
                client.tls(ClientTls::new().ca_file(self.authority.certificate()))
            }
            _ => client,
        }
    }

    fn tls(&self) -> ServerTls {
        let files = self.authority.server(&["127.0.0.1"]);
        ServerTls::builder(files.certificate, files.key).load().expect("loaded")
    }

    fn socket(&self) -> PathBuf {
        self.authority.certificate().with_file_name("hub.sock")
    }
}
