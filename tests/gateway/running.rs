//! A gateway that runs in the test.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tower_mqtt::gateway::{Config, Gateway};

use super::devices::{KINDS, Kind};
use super::mosquitto::Mosquitto;
use super::programs::soon;
use super::servers::KEY;

/// The configuration of a gateway with an embedded hub that has these devices.
pub(crate) fn config(devices: &[(Kind, String)]) -> String {
    let hub = "[mqtt]\nlisten = [\"mqtt://127.0.0.1:0\"]\n";
    format!("[http]\nlisten = [\"127.0.0.1:0\"]\n{hub}{}", fleet(devices))
}

/// The access key of the tests and these devices, without the places to listen.
pub(crate) fn fleet(devices: &[(Kind, String)]) -> String {
    let (id, secret, bearer) = KEY;
    let mut text =
        format!("[[keys]]\nid = \"{id}\"\nsecret = \"{secret}\"\nbearer = \"{bearer}\"\n");
    for kind in KINDS {
        let (product, dialect, secret) = (kind.product(), kind.dialect(), kind.secret());
        let _ = write!(
            text,
            "[[products]]\nid = \"{product}\"\ndialect = \"{dialect}\"\ntimeout = \"1s\"\n"
        );
        for (_, name) in devices.iter().filter(|(own, _)| *own == kind) {
            let _ =
                write!(text, "[[products.devices]]\nname = \"{name}\"\nsecret = \"{secret}\"\n");
        }
    }
    text
}

pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) http: SocketAddr,
}

impl Running {
    pub(crate) async fn start(config: &str) -> Self {
        let parsed = Config::parse(config, "test.toml");
        let parsed = parsed.unwrap_or_else(|errors| panic!("{errors}\n{config}"));
        let gateway = soon(Gateway::builder(parsed).start()).await.expect("started");
        let http = gateway.http_addrs()[0];
        Self { gateway, http }
    }

    /// One with these devices.
    pub(crate) async fn with(devices: &[(Kind, &str)]) -> Self {
        let devices: Vec<_> =
            devices.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect();
        Self::start(&config(&devices)).await
    }

    /// One of a cluster behind this broker, with a lamp of this kind.
    pub(crate) async fn member(broker: &Mosquitto, kind: Kind, id: &str) -> Self {
        let places = format!(
            "[http]\nlisten = [\"127.0.0.1:0\"]\n[mqtt.broker]\nurl = \"{}\"\n\
             [cluster]\nid = \"{id}\"\ndead_after = \"6s\"\n",
            broker.url()
        );
        Self::start(&format!("{places}{}", fleet(&[(kind, "lamp".to_owned())]))).await
    }

    /// Where devices connect.
    pub(crate) fn hub(&self) -> SocketAddr {
        self.gateway.mqtt()[0].local_addr().expect("TCP")
    }

    pub(crate) async fn stop(self) {
        soon(self.gateway.shutdown(Duration::from_secs(5))).await;
    }
}
