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
/// It is asked when a device connects, and for calls to devices that are not known to be connected. What
/// takes long should be cached by the store.
pub trait DeviceStore: Send + Sync + 'static {
    /// The device, or `None` when there is none of this name.
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
