//! What the tests run through.
#![allow(dead_code, reason = "not every test that shares this file needs all of it")]

#[cfg(all(feature = "tls", feature = "ws", unix))]
#[path = "carrier.rs"]
mod carrier;
#[path = "../support/certificates.rs"]
mod certificates;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(all(feature = "tls", feature = "ws", unix))]
use tower_mqtt::hub::Transport;
use tower_mqtt::hub::{Access, HubBuilder};
use tower_mqtt::link::{Client, ClientBuilder, Reconnect};
use tower_mqtt::{Hub, Link};

#[cfg(all(feature = "tls", feature = "ws", unix))]
use self::carrier::Carrier;
use self::certificates::Authority;
use crate::mosquitto::Mosquitto;

/// Which broker, and where the responders are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Mosquitto,
    /// Its clients of this crate connect over TLS; others as before.
    MosquittoTls,
    /// The same with `WebSocket`.
    MosquittoWebSocket,
    /// With so many workers.
    Hub(usize),
    /// As before; responders are links of the hub's process.
    InHub(usize),
    /// Clients are connected over this.
    #[cfg(all(feature = "tls", feature = "ws", unix))]
    HubOver(Transport),
}

/// Makes a test of each function, for each kind of broker.
#[allow(unused_macros, reason = "not every test that shares this file needs it")]
macro_rules! on_every_broker {
    ($($name:ident),+ $(,)?) => {
        on_every_broker! { @ through_mosquitto = Kind::Mosquitto, $($name),+ }
        on_every_broker! { @ through_the_hub = Kind::Hub(1), $($name),+ }
        on_every_broker! { @ through_a_hub_with_two_workers = Kind::Hub(2), $($name),+ }
        on_every_broker! { @ in_the_hub = Kind::InHub(1), $($name),+ }
        on_every_broker! { @ in_a_hub_with_two_workers = Kind::InHub(2), $($name),+ }
    };
    (@ $module:ident = $kind:expr, $($name:ident),+) => {
        mod $module {
            use crate::broker::Kind;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::soon(super::$name($kind)).await;
                }
            )+
        }
    };
}

/// As [`on_every_broker`], and for everything that may carry MQTT to the hub.
#[allow(unused_macros, reason = "not every test that shares this file needs it")]
macro_rules! over_every_transport_of_the_hub {
    ($($name:ident),+ $(,)?) => {
        on_every_broker! { $($name),+ }
        over_every_transport_of_the_hub! { @ over_tls = Tls, $($name),+ }
        over_every_transport_of_the_hub! { @ over_web_socket = WebSocket, $($name),+ }
        over_every_transport_of_the_hub! { @ over_secure_web_socket = SecureWebSocket, $($name),+ }
        over_every_transport_of_the_hub! { @ over_a_unix_socket = Unix, $($name),+ }
    };
    (@ $module:ident = $transport:ident, $($name:ident),+) => {
        #[cfg(all(feature = "tls", feature = "ws", unix))]
        on_every_broker! {
            @ $module = Kind::HubOver(tower_mqtt::hub::Transport::$transport), $($name),+
        }
    };
}

/// As [`over_every_transport_of_the_hub`], and for everything that may carry MQTT to mosquitto.
#[allow(unused_macros, reason = "not every test that shares this file needs it")]
macro_rules! over_every_transport {
    ($($name:ident),+ $(,)?) => {
        over_every_transport_of_the_hub! { $($name),+ }
        #[cfg(feature = "tls")]
        on_every_broker! { @ through_mosquitto_over_tls = Kind::MosquittoTls, $($name),+ }
        #[cfg(feature = "ws")]
        on_every_broker! {
            @ through_mosquitto_over_web_socket = Kind::MosquittoWebSocket, $($name),+
        }
    };
}

/// What a broker does not allow.
const FORBIDDEN: &str = "forbidden";

/// The largest packet that a broker takes from a client.
pub(crate) const PACKET_LIMIT: u32 = 1024 * 1024;

enum Server {
    Mosquitto(Mosquitto),
    /// `None` while it is down.
    Hub(Option<Hub>),
    #[cfg(all(feature = "tls", feature = "ws", unix))]
    HubOver(Box<Carrier>, Option<Hub>),
}

pub(crate) struct Broker {
    server: Server,
    kind: Kind,
    address: SocketAddr,
    /// Of the certificate that a broker with TLS has.
    authority: Option<Authority>,
    /// Files that the broker reads.
    files: Vec<PathBuf>,
}

impl Broker {
    /// A broker that allows everything.
    pub(crate) async fn start(kind: Kind) -> Self {
        match kind {
            Kind::Hub(_) | Kind::InHub(_) => {
                let hub = start_hub(kind, "127.0.0.1:0").await;
                Self::new(Server::Hub(Some(hub)), kind, Vec::new())
            }
            #[cfg(all(feature = "tls", feature = "ws", unix))]
            Kind::HubOver(transport) => {
                let carrier = Box::new(Carrier::new(transport));
                let hub = hub(1).bind("127.0.0.1:0").listen(carrier.listener());
                let hub = hub.start().await.expect("started");
                Self::new(Server::HubOver(carrier, Some(hub)), kind, Vec::new())
            }
            _ => {
                let limit = format!("max_packet_size {PACKET_LIMIT}");
                Self::mosquitto(kind, &[&limit], Vec::new()).await
            }
        }
    }

    async fn mosquitto(kind: Kind, config: &[&str], files: Vec<PathBuf>) -> Self {
        let authority = Authority::new("broker");
        let own = authority.server(&["127.0.0.1"]);
        let certificate = format!("certfile {}", own.certificate.display());
        let key = format!("keyfile {}", own.key.display());
        let second: &[&str] = match kind {
            Kind::MosquittoTls => &[&certificate, &key],
            Kind::MosquittoWebSocket => &["protocol websockets"],
            _ => &[],
        };
        let server = match second {
            [] => Mosquitto::start(config).await,
            _ => Mosquitto::start_beside(config, second).await,
        };
        let mut broker = Self::new(Server::Mosquitto(server), kind, files);
        broker.authority = Some(authority);
        broker
    }

    /// A broker at which nobody may publish or subscribe to `forbidden/…`, nor `no-answers` to its
    /// response topic.
    pub(crate) async fn with_access_control(kind: Kind) -> Self {
        if !matches!(kind, Kind::Mosquitto | Kind::MosquittoTls | Kind::MosquittoWebSocket) {
            return Self::start(kind).await;
        }
        let rules = Mosquitto::file("security.json", RULES);
        let plugin = format!("plugin {}", security_plugin().display());
        let options = format!("plugin_opt_config_file {}", rules.display());
        Self::mosquitto(kind, &[&plugin, &options], vec![rules]).await
    }

    fn new(server: Server, kind: Kind, files: Vec<PathBuf>) -> Self {
        let address = match &server {
            Server::Mosquitto(mosquitto) => SocketAddr::from(([127, 0, 0, 1], mosquitto.port())),
            Server::Hub(hub) => hub.as_ref().and_then(Hub::local_addr).expect("bound"),
            #[cfg(all(feature = "tls", feature = "ws", unix))]
            Server::HubOver(_, hub) => hub.as_ref().and_then(Hub::local_addr).expect("bound"),
        };
        Self { server, kind, address, authority: None, files }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client that comes back quickly.
    pub(crate) fn client(&self) -> ClientBuilder {
        let quick = Reconnect { longest: Duration::from_millis(100), ..Reconnect::default() };
        let client = match (&self.server, self.kind) {
            #[cfg(all(feature = "tls", feature = "ws", unix))]
            (Server::HubOver(carrier, Some(hub)), _) => carrier.client(hub),
            #[cfg(feature = "tls")]
            (Server::Mosquitto(mosquitto), Kind::MosquittoTls) => {
                let authority = self.authority.as_ref().expect("of a mosquitto");
                let tls = tower_mqtt::tls::ClientTls::new().ca_file(authority.certificate());
                Client::builder(&format!("mqtts://127.0.0.1:{}", mosquitto.second_port())).tls(tls)
            }
            (Server::Mosquitto(mosquitto), Kind::MosquittoWebSocket) => {
                Client::builder(&format!("ws://127.0.0.1:{}", mosquitto.second_port()))
            }
            _ => Client::builder(&format!("mqtt://{}", self.address)),
        };
        client.reconnect(quick)
    }

    /// For a requester: always over a socket.
    pub(crate) async fn link(&self) -> Link {
        self.client().connect().await.expect("accepted")
    }

    /// For a responder.
    pub(crate) async fn responder_link(&self, client_id: &str) -> Link {
        match (&self.server, self.kind) {
            (Server::Hub(Some(hub)), Kind::InHub(_)) => hub.link(client_id),
            _ => self.client().client_id(client_id).connect().await.expect("accepted"),
        }
    }

    /// Ends the broker at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        match &mut self.server {
            Server::Mosquitto(mosquitto) => mosquitto.kill(),
            Server::Hub(hub) => drop(hub.take()),
            #[cfg(all(feature = "tls", feature = "ws", unix))]
            Server::HubOver(_, hub) => drop(hub.take()),
        }
    }

    /// Starts it again at the same address.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        match &mut self.server {
            Server::Mosquitto(mosquitto) => mosquitto.restart().await,
            Server::Hub(hub) => {
                *hub = Some(start_hub(self.kind, &self.address.to_string()).await);
            }
            #[cfg(all(feature = "tls", feature = "ws", unix))]
            Server::HubOver(..) => unreachable!("its port would be another one"),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

async fn start_hub(kind: Kind, address: &str) -> Hub {
    let (Kind::Hub(workers) | Kind::InHub(workers)) = kind else { unreachable!("not a hub") };
    hub(workers).bind(address).start().await.expect("started")
}

fn hub(workers: usize) -> HubBuilder {
    let allowed = |client_id: &str, access: Access<'_>| {
        let forbidden = |topic: &str| topic.split('/').next() == Some(FORBIDDEN);
        match access {
            Access::Publish(topic) => !forbidden(topic.as_str()),
            Access::Subscribe(filter) => !forbidden(filter.filter()) && client_id != "no-answers",
            _ => false,
        }
    };
    Hub::builder()
        .workers(workers)
        .limits(|limits| limits.packet = PACKET_LIMIT)
        .authorize(move |_, client_id, access| allowed(client_id, access))
}

/// mosquitto's own plugin: its plain ACL file says nothing about subscriptions.
fn security_plugin() -> PathBuf {
    let directories = std::fs::read_dir("/usr/lib").expect("Linux").flatten();
    let candidates = directories.map(|directory| directory.path()).chain(["/usr/lib".into()]);
    candidates
        .map(|directory| directory.join("mosquitto_dynamic_security.so"))
        .find(|plugin| plugin.exists())
        .expect("mosquitto_dynamic_security.so under /usr/lib: install the package mosquitto")
}

const RULES: &str = r#"{
    "defaultACLAccess": {
        "publishClientSend": true, "publishClientReceive": true,
        "subscribe": true, "unsubscribe": true
    },
    "roles": [{ "rolename": "guest", "acls": [
        { "acltype": "publishClientSend", "topic": "forbidden/#", "allow": false },
        { "acltype": "subscribePattern", "topic": "forbidden/#", "allow": false },
        { "acltype": "subscribeLiteral", "topic": "clients/no-answers/responses", "allow": false }
    ]}],
    "groups": [{ "groupname": "guests", "roles": [{ "rolename": "guest" }] }],
    "anonymousGroup": "guests"
}"#;
