//! Where the secrets of devices come from.

use std::collections::HashMap;
use std::pin::Pin;

use thiserror::Error;

use crate::gateway::config::{Device, Product};

/// What [`DeviceStore::find`] returns.
pub type Found<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Device>, StoreUnavailable>> + Send + 'a>>;

/// Knows the devices of the [products](crate::gateway::Config::products) and their secrets: a table, a
/// database, a service.
///
/// It is asked
///
/// - when a client connects: for the device that it says it is, and for those whose SDKs would use its client
///   identifier;
/// - with the embedded hub, for a call to a device that is not connected, before the caller is told so;
/// - beside a broker, for every call and publication, as it is not known who is connected.
///
/// What it says of [`disabled`](field@Device::disabled) holds from then on: a device that is connected to the
/// embedded hub stays so, and is called, until it has to log in again.
///
/// A call waits for it until its deadline at the longest. What takes long should be cached by the store.
///
/// ```
/// use tower_mqtt::gateway::config::{Device, Dialect, Product};
/// use tower_mqtt::gateway::{Config, DeviceStore, Found, Gateway};
///
/// /// Every device of the factory's has a secret that is made from its serial number.
/// struct Factory;
///
/// impl DeviceStore for Factory {
///     fn find<'a>(&'a self, product: &'a str, device: &'a str) -> Found<'a> {
///         let known = product == "lamps" && device.starts_with("SN-");
///         let device = known.then(|| Device::new(device, format!("secret of {device}")));
///         Box::pin(async { Ok(device) })
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = Config::default();
/// config.products.push(Product::new("lamps", Dialect::Native));
/// # config.http.listen = vec!["127.0.0.1:0".parse()?];
/// # config.mqtt.listen = vec!["mqtt://127.0.0.1:0".to_owned()];
/// let gateway = Gateway::builder(config).store(Factory).start().await?;
///
/// let hub = gateway.mqtt()[0].to_string();
/// let lamp = tower_mqtt::Client::builder(&hub).client_id("lamps/SN-7");
/// let lamp = lamp.credentials("lamps/SN-7", "secret of SN-7").connect().await?;
/// # drop(lamp);
/// # gateway.shutdown(std::time::Duration::from_secs(1)).await;
/// # Ok(())
/// # }
/// ```
pub trait DeviceStore: Send + Sync + 'static {
    /// The device, or `None` when there is none of this name.
    ///
    /// # Errors
    /// [`StoreUnavailable`] when the store cannot say. A client that connects is then refused as by a server that
    /// is not available. A call fails as unavailable beside a broker; with the hub its device counts as
    /// offline.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time, as when a caller hangs up.
    fn find<'a>(&'a self, product: &'a str, device: &'a str) -> Found<'a>;
}

/// The store cannot say at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the device store is not available")]
#[expect(clippy::exhaustive_structs, reason = "why is for the store's own log")]
pub struct StoreUnavailable;

/// The devices of a configuration.
#[derive(Debug, Default)]
pub(crate) struct ConfiguredDevices(HashMap<Box<str>, HashMap<Box<str>, Device>>);

impl ConfiguredDevices {
    pub(crate) fn new(products: &[Product]) -> Self {
        let devices = |product: &Product| {
            let named = product.devices.iter().map(|it| (it.name.as_str().into(), it.clone()));
            (product.id.as_str().into(), named.collect())
        };
        Self(products.iter().map(devices).collect())
    }
}

impl DeviceStore for ConfiguredDevices {
    fn find<'a>(&'a self, product: &'a str, device: &'a str) -> Found<'a> {
        let found = self.0.get(product).and_then(|devices| devices.get(device)).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }
}
