//! Devices that log in as their vendors' do, and answer by this crate's own responder.

use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::link::Client;
use tower_mqtt::responder::ResponderBuilder;
use tower_mqtt::{Responder, Router, Status};

use super::signing::{hmac_sha1, hmac_sha256};

/// Of Aliyun's devices, as a `DeviceSecret`.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Of Tencent's devices.
pub(crate) const PSK: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

/// What a device speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Aliyun's, without `ext=1`.
    Plain,
    /// Aliyun's, with `ext=1`.
    Extended,
    /// Of Tencent's IoT Hub.
    Tencent,
    /// Of Tencent's IoT Explorer.
    Explorer,
    Native,
}

pub(crate) const KINDS: [Kind; 5] =
    [Kind::Plain, Kind::Extended, Kind::Tencent, Kind::Explorer, Kind::Native];

/// What of it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Device,
    /// `/{product}/{device}/user/get`
    Topic,
    /// `light`
    Service,
}

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In capitals.
    Upper,
    Silent,
    /// With the status 500, where there is a status.
    Fails,
}

impl Kind {
    pub(crate) fn product(self) -> &'static str {
        match self {
            Self::Plain => "a1plainPK01",
            Self::Extended => "a1testPK001",
            Self::Tencent => "KL4J2TEST1",
            Self::Explorer => "EXPLORER01",
            Self::Native => "lamps",
        }
    }

    pub(crate) fn dialect(self) -> &'static str {
        match self {
            Self::Plain | Self::Extended => "aliyun",
            Self::Tencent => "tencent",
            Self::Explorer => "tencent-explorer",
            Self::Native => "native",
        }
    }

    pub(crate) fn secret(self) -> &'static str {
        if matches!(self, Self::Tencent | Self::Explorer) { PSK } else { SECRET }
    }

    /// Client identifier, user name, password.
    pub(crate) fn credentials(self, device: &str) -> (String, String, String) {
        let product = self.product();
        match self {
            Self::Plain | Self::Extended => {
                let id = format!("{product}&{device}");
                let content = format!("clientId{id}deviceName{device}productKey{product}");
                let password = hex::encode(hmac_sha256(SECRET.as_bytes(), &content));
                let ext = u8::from(self == Self::Extended);
                let client_id = format!("{id}|securemode=3,signmethod=hmacsha256,ext={ext}|");
                (client_id, format!("{device}&{product}"), password)
            }
            Self::Tencent | Self::Explorer => {
                let client_id = format!("{product}{device}");
                let username = format!("{client_id};12010126;abcde;1700003600");
                let key = BASE64_STANDARD.decode(PSK).expect("base64");
                let password = format!("{};hmacsha1", hex::encode(hmac_sha1(&key, &username)));
                (client_id, username, password)
            }
            Self::Native => {
                let name = format!("{product}/{device}");
                (name.clone(), name, SECRET.to_owned())
            }
        }
    }

    fn speaks(self, form: Form, responder: ResponderBuilder) -> ResponderBuilder {
        match (self, form) {
            (Self::Native, _) => responder,
            (Self::Tencent, _) => responder.dialect(tencent::rrpc()),
            (Self::Explorer, _) => responder.dialect(tencent::explorer()),
            (_, Form::Device) => responder.dialect(aliyun::system()),
            (_, Form::Topic) => responder.dialect(aliyun::custom()),
            (Self::Extended, Form::Service) => responder.dialect(aliyun::thing_service()),
            (_, Form::Service) => responder.dialect(aliyun::thing_service().over_system_topics()),
        }
    }

    fn route(self, device: &str, form: Form) -> String {
        let below = match form {
            Form::Device => "",
            Form::Topic => "/user/get",
            Form::Service => "/light",
        };
        let base = if self == Self::Native { "devices/" } else { "" };
        format!("{base}{}/{device}{below}", self.product())
    }

    /// Connects a device, which serves until it is dropped.
    pub(crate) async fn start(
        self,
        hub: SocketAddr,
        device: &str,
        form: Form,
        mode: Mode,
    ) -> Responder {
        let route = self.route(device, form);
        let router = Router::new();
        let router = match mode {
            Mode::Upper => router.route(&route, async |text: String| text.to_uppercase()),
            Mode::Silent => router.route(&route, std::future::pending::<String>),
            Mode::Fails => router.route(&route, async || Status::new(500).with_message("broken")),
        };
        self.serve(hub, device, form, router).await
    }

    /// Connects a device that answers by this handler.
    pub(crate) async fn start_with<H, F>(
        self,
        hub: SocketAddr,
        device: &str,
        handler: H,
    ) -> Responder
    where
        H: Fn(String) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = String> + Send + 'static,
    {
        let router = Router::new().route(&self.route(device, Form::Device), handler);
        self.serve(hub, device, Form::Device, router).await
    }

    async fn serve(self, hub: SocketAddr, device: &str, form: Form, router: Router) -> Responder {
        let (client_id, user, password) = self.credentials(device);
        let client = Client::builder(&format!("mqtt://{hub}")).client_id(client_id);
        let link = client.credentials(user, password).connect().await.expect("it may connect");
        let responder = self.speaks(form, Responder::builder(link));
        responder.serve(router).await.expect("it may subscribe")
    }
}
