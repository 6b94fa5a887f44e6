//! The devices, as far as the gateway knows them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::switchboard::Switchboard;
use crate::gateway::call::DeviceState;

/// Product and device.
type Name = (Box<str>, Box<str>);

impl Switchboard {
    pub(super) fn devices(&self) -> Vec<DeviceState> {
        let Some(roster) = &self.roster else { return self.beside_a_broker() };
        let busy = self.limiter.busy();
        let connected = roster.connected().into_iter().filter_map(|(product, device, since)| {
            let name = (product, device);
            let in_flight = busy.get(&name).copied().unwrap_or_default();
            self.state(name, Some(since), in_flight)
        });
        connected.collect()
    }

    fn beside_a_broker(&self) -> Vec<DeviceState> {
        let mut devices: BTreeMap<Name, usize> = BTreeMap::new();
        for product in self.products.iter() {
            let name = |device: &str| (product.id.as_str().into(), device.into());
            devices.extend(product.devices.iter().map(|device| (name(&device.name), 0)));
        }
        devices.extend(self.limiter.busy());
        devices.into_iter().filter_map(|(name, count)| self.state(name, None, count)).collect()
    }

    fn state(
        &self,
        (product, device): Name,
        since: Option<SystemTime>,
        in_flight: usize,
    ) -> Option<DeviceState> {
        let dialect = self.products.get(&product)?.dialect.name();
        let connected = since.map(|_| true);
        Some(DeviceState { product, device, dialect, connected, since, in_flight })
    }
}
