//! How a gateway is configured: in code, or by a [file](Config::load).
//!
//! # The file
//!
//! TOML, with the names of the fields of [`Config`] and what is in it. Durations are text (`"2s"`,
//! `"1m 30s"`), paths are seen from the file's directory, and where one address is enough it needs no
//! brackets. What is left out has its default; what is not known is a mistake.
//!
//! ```toml
#![doc = include_str!("../../../examples/gateway.toml")]
//! ```
//!
//! A secret can stand in the file, in a file of its own (`secret_file`, without the line end) or in
//! the environment (`secret_env`, the name of the variable); `bearer` and `password` likewise.

mod check;
mod error;
mod fields;
mod file;
mod kind;
mod parse;
mod secret;
#[cfg(test)]
mod tests;
mod url;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use secrecy::SecretString;

pub use self::error::{ConfigError, ConfigErrors};
pub use self::kind::Dialect;
pub(crate) use self::url::listeners;
use crate::core::topic::TopicFilter;
use crate::tls::{ServerTls, ServerTlsBuilder};

/// Everything that a gateway is told.
///
/// ```
/// use tower_mqtt::gateway::config::{AccessKey, Config, Dialect, Product};
///
/// let mut config = Config::default();
/// config.http.listen = vec!["127.0.0.1:0".parse()?];
/// config.keys.push(AccessKey::new("shop").with_bearer("2YotnFZFEjr1zCsicMWpAA"));
/// let product = Product::new("KL4J2TEST1", Dialect::Tencent);
/// config.products.push(product.with_device("lamp", "MDEyMzQ1Njc4OWFiY2RlZg=="));
/// config.check()?;
///
/// let same = Config::parse(
///     r#"
///     http.listen = "127.0.0.1:0"
///
///     [[keys]]
///     id = "shop"
///     bearer = "2YotnFZFEjr1zCsicMWpAA"
///
///     [[products]]
///     id = "KL4J2TEST1"
///     dialect = "tencent"
///     devices = [{ name = "lamp", secret = "MDEyMzQ1Njc4OWFiY2RlZg==" }]
///     "#,
///     "gateway.toml",
/// )?;
/// assert_eq!(format!("{same:?}"), format!("{config:?}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// The HTTP side.
    pub http: Http,
    /// The MQTT side.
    pub mqtt: Mqtt,
    /// Calls in flight.
    pub limits: Limits,
    /// Several gateways behind one broker.
    pub cluster: Option<Cluster>,
    /// Who may call.
    pub keys: Vec<AccessKey>,
    /// What may be called.
    pub products: Vec<Product>,
}

impl Config {
    /// Reads a file of at most 64 MiB. It blocks for as long as reading takes.
    ///
    /// # Errors
    /// [`ConfigErrors`]: the file cannot be read, or as [`parse`](Self::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        parse::load(path.as_ref())
    }

    /// Reads the text of a file; `name` is what errors call it, and paths are seen from its directory.
    /// The files that it names are read as well.
    ///
    /// # Errors
    /// [`ConfigErrors`]: all mistakes that are found, each with its line and what was expected. They
    /// never hold a secret.
    pub fn parse(text: &str, name: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        parse::parse(text, name.as_ref())
    }

    /// Looks for the mistakes that [`parse`](Self::parse) finds in a file, for a configuration that is
    /// made or changed in code, and for a cluster without a broker, which the program's command line may
    /// still name. TLS files are read.
    ///
    /// # Errors
    /// [`ConfigErrors`]: all that are found; without lines, as there are none, but for a cluster of a file.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let place = self.cluster.as_ref().and_then(|cluster| cluster.place.as_ref());
        ConfigErrors::with_place_of("cluster", place, check::all(self))
    }
}

/// Where and how HTTP is served.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Http {
    /// Addresses; `127.0.0.1:8080` by default.
    pub listen: Vec<SocketAddr>,
    /// Serve HTTPS with these.
    pub tls: Option<TlsFiles>,
    /// Bytes of a request's body. 512 KiB by default: 256 KiB of payload, in base64 and encoded for a form.
    pub body: usize,
    /// How far a signed request's time may be from the gateway's, either way; a nonce is remembered for as
    /// long, until the gateway stops, and the other gateways of a [`Cluster`] are told of it at once. So who
    /// can read requests on their way can repeat one after a restart, and at another gateway before that has
    /// heard, or if it cannot be told: let servers use HTTPS. 15 min by default, as Aliyun has it. A
    /// request in Tencent's way may be 5 min off at the most, and as it has no nonce it can be repeated
    /// until then, at any gateway.
    pub replay_window: Duration,
    /// Connections at once. 4,096 by default.
    pub connections: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            tls: None,
            body: 512 * 1024,
            replay_window: Duration::from_mins(15),
            connections: 4096,
        }
    }
}

/// A certificate chain and its key, both PEM.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing else to a certificate")]
pub struct TlsFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl TlsFiles {
    pub(crate) fn server(&self) -> ServerTlsBuilder {
        ServerTls::builder(&self.cert, &self.key)
    }
}

/// Where devices are.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Mqtt {
    /// Where the embedded hub listens, as URLs: `mqtt://127.0.0.1:1883`, `mqtts://…`, `unix:/path`, and
    /// with the feature `ws` `ws://…` and `wss://…`. `mqtt://127.0.0.1:1883` by default. Unused beside a
    /// broker.
    pub listen: Vec<String>,
    /// For `mqtts` and `wss`.
    pub tls: Option<TlsFiles>,
    /// The broker that devices are connected to, instead of the embedded hub.
    pub broker: Option<Broker>,
    /// Devices that may be connected to the embedded hub at once. 20,000 by default, the usual limit of
    /// open files.
    pub connections: usize,
    /// Where native requesters may have their answers: the gateway publishes there what a device has said,
    /// with its own rights, which may be more than the requester's. `clients/+/responses/#` by default,
    /// below which this crate's requesters hear them. Topics of devices and gateways are none in any case.
    pub response_topics: Vec<TopicFilter>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            listen: vec!["mqtt://127.0.0.1:1883".to_owned()],
            tls: None,
            broker: None,
            connections: 20_000,
            response_topics: vec![
                TopicFilter::new("clients/+/responses/#").expect("it is a filter"),
            ],
        }
    }
}

/// A broker, and who the gateway is there.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Broker {
    /// `mqtt://` or `mqtts://`, or what else a [`Client`](crate::Client) connects to; without user name
    /// and password.
    pub url: String,
    /// By default the `client_id` of the URL, or else a random one.
    pub client_id: Option<String>,
    /// The user name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// The authority that has signed the broker's certificate, PEM; the system's by default.
    pub ca: Option<PathBuf>,
}

impl Broker {
    /// The broker at this URL. User name and password are taken out of it.
    pub fn at(url: &str) -> Self {
        url::split(url)
    }
}

/// A password that is left in the URL is not shown.
impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("url", &url::without_credentials(&self.url))
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password)
            .field("ca", &self.ca)
            .finish()
    }
}

/// How many calls may be in flight; one more is refused, and told to come again.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Of the whole gateway. 10,000 by default.
    pub in_flight: usize,
    /// To one device. 16 by default.
    pub per_device: usize,
    /// Of one access key; in a [`Cluster`] on each gateway. 1,000 by default, the vendors' own.
    pub per_key: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 10_000, per_device: 16, per_key: 1000 }
    }
}

/// Several gateways behind one broker: all with the same name share the devices.
///
/// They talk on `gateways/{name}/#`. The broker's rules must keep these topics for gateways: who may publish
/// there can call devices, and take them over. The gateways should have the same keys, the same
/// [`replay_window`](Http::replay_window) and clocks that agree: each judges by its own whether a signed
/// request is in time, and remembers the nonces that the others tell of for as long, if it has their key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Cluster {
    /// The same for all.
    pub name: String,
    /// This gateway's own, which no other may have; a random one by default.
    pub id: Option<String>,
    /// A gateway that was not heard of for this long is dead: 100 ms to 10 min. 3 s by default; each says
    /// three times as often that it lives.
    pub dead_after: Duration,
    /// The file that it is from, and its line there: what it lacks is known only later.
    pub(crate) place: Option<(Box<str>, usize)>,
}

impl Default for Cluster {
    fn default() -> Self {
        let (name, dead_after) = ("gateways".to_owned(), Duration::from_secs(3));
        Self { name, id: None, dead_after, place: None }
    }
}

/// Who may call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AccessKey {
    /// The `AccessKeyId` or `SecretId`; the user name of a server that asks over MQTT. Nobody else has this
    /// as client identifier there, nor what begins with it and a `/`.
    pub id: String,
    /// What signs; the password of a server that asks over MQTT.
    pub secret: Option<SecretString>,
    /// The bearer token of the plain API.
    pub bearer: Option<SecretString>,
    /// The products that it may call; all by default.
    pub products: Option<Vec<String>>,
}

impl AccessKey {
    /// A key that may call all products; it needs a secret, a bearer token or both.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), secret: None, bearer: None, products: None }
    }

    /// Lets it sign.
    pub fn with_secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Lets it use the plain API.
    pub fn with_bearer(mut self, token: impl Into<SecretString>) -> Self {
        self.bearer = Some(token.into());
        self
    }

    /// Lets it call one more product, and none but those that are named like this.
    pub fn with_product(mut self, product: impl Into<String>) -> Self {
        self.products.get_or_insert_default().push(product.into());
        self
    }
}

/// A kind of device.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Product {
    /// Its `ProductKey` or `ProductId`.
    pub id: String,
    /// What its devices speak.
    pub dialect: Dialect,
    /// How long a call waits when the caller does not say, or cannot. The dialect's by default.
    pub timeout: Option<Duration>,
    /// Let one call at a time go to a device; of Aliyun's one of each kind: raw, on a topic of its own, to
    /// a service. On by default for Tencent's, whose SDKs mix up overlapping calls.
    pub one_in_flight: bool,
    /// Whether devices said `ext=1` when that is not seen, as behind a broker. No by default.
    pub ext: bool,
    /// Its devices.
    pub devices: Vec<Device>,
}

impl Product {
    /// A product with the defaults of its dialect, and without devices.
    pub fn new(id: impl Into<String>, dialect: Dialect) -> Self {
        let one_in_flight = matches!(dialect, Dialect::Tencent | Dialect::TencentExplorer);
        let devices = Vec::new();
        Self { id: id.into(), dialect, timeout: None, one_in_flight, ext: false, devices }
    }

    /// One more device.
    pub fn with_device(mut self, name: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        self.devices.push(Device::new(name, secret));
        self
    }
}

/// A device and its secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Device {
    /// Its name.
    pub name: String,
    /// The `DeviceSecret`, or the PSK in base64; the password of one that logs in with its user name.
    pub secret: SecretString,
    /// It may not log in to the embedded hub, and is not called. No by default.
    pub disabled: bool,
}

impl Device {
    /// A device, and what proves that it is this one.
    pub fn new(name: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self { name: name.into(), secret: secret.into(), disabled: false }
    }

    /// The same, [disabled](field@Self::disabled).
    pub fn disabled(mut self) -> Self {
        self.disabled = true;
        self
    }
}
