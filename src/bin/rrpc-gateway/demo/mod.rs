//! Two devices to play with. They are connected over MQTT, and say who they are as their vendors'
//! devices do.

mod credentials;
mod devices;

use std::fmt;
use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};
use tower_mqtt::gateway::config::{AccessKey, Dialect, Product};
use tower_mqtt::gateway::{Config, Gateway};
use tower_mqtt::{Link, Responder};
use ulid::Ulid;

use self::credentials::Credentials;

/// The vendor's tutorial has an air conditioner.
const TENCENT: (&str, &str) = ("DEMOTENCNT", "airConditioner1");
const ALIYUN: (&str, &str) = ("a1demo", "lamp");

/// The id of the access key.
const KEY: &str = "demo";

/// The devices. They are connected until this is dropped.
pub(crate) struct Demo {
    devices: Vec<(Link, Vec<Responder>)>,
    http: Option<SocketAddr>,
    bearer: String,
    secret: String,
}

/// The products of the devices, and a key: with secrets that nobody has had before.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.keys.push(AccessKey::new(KEY).with_secret(random()).with_bearer(random()));
    let (product, device) = TENCENT;
    let psk = BASE64_STANDARD.encode(random());
    config.products.push(Product::new(product, Dialect::Tencent).with_device(device, psk));
    let (product, device) = ALIYUN;
    let mut product = Product::new(product, Dialect::Aliyun).with_device(device, random());
    product.ext = true;
    config.products.push(product);
    config
}

/// 160 random bits.
fn random() -> String {
    let half = || Ulid::new().random();
    format!("{:020x}{:020x}", half(), half())
}

impl Demo {
    /// Connects the devices of [`config`] to a gateway that has it.
    pub(crate) async fn connect(gateway: &Gateway, config: &Config) -> Result<Self, String> {
        let broker = || config.mqtt.broker.as_ref().map(|broker| broker.url.clone());
        let server = gateway.mqtt().first().map(ToString::to_string).or_else(broker);
        let server = server.ok_or("the demo needs a place where its devices connect")?;
        let secret = |(product, device): (&str, &str)| {
            let products = config.products.iter().filter(|it| it.id == product);
            let mut devices = products.flat_map(|product| &product.devices);
            let device = devices.find(|it| it.name == device);
            device.map(|device| device.secret.expose_secret().to_owned()).unwrap_or_default()
        };
        let air_conditioner = Credentials::tencent(TENCENT, &secret(TENCENT))?;
        let lamp = Credentials::aliyun(ALIYUN, &secret(ALIYUN));
        let key = config.keys.first();
        let exposed = |secret: Option<&SecretString>| {
            secret.map(|secret| secret.expose_secret().to_owned()).unwrap_or_default()
        };
        Ok(Self {
            devices: vec![
                devices::air_conditioner(&server, TENCENT, air_conditioner).await?,
                devices::lamp(&server, ALIYUN, lamp).await?,
            ],
            http: gateway.http_addrs().first().copied(),
            bearer: exposed(key.and_then(|key| key.bearer.as_ref())),
            secret: exposed(key.and_then(|key| key.secret.as_ref())),
        })
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        for (link, _) in &self.devices {
            link.close();
        }
    }
}

/// What to try.
impl fmt::Display for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http, bearer, secret, .. } = self;
        let Some(http) = http else { return Ok(()) };
        let curl = |payload: &str, (product, device): (&str, &str), query: &str| {
            let url = format!("'http://{http}/v1/devices/{product}/{device}/call{query}'");
            format!("curl -H 'Authorization: Bearer {bearer}' -d {payload} {url}")
        };
        let tencent = curl("closed", TENCENT, "");
        let capitals = curl("hello", ALIYUN, "");
        let service = curl("'{\"on\":true}'", ALIYUN, "?service=light");
        write!(
            f,
            "
Two devices are connected. An air conditioner answers \"closed\" with \"ok\", over Tencent's RRPC:
  {tencent}
A lamp answers in capitals, and has a service, over Aliyun's:
  {capitals}
  {service}
The console is at http://{http}/ for a browser, with the key {bearer}
The vendors' cloud SDKs call them at http://{http} with the access key {KEY}, its secret {secret}"
        )
    }
}
