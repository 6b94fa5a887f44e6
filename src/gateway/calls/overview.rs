//! The devices, as far as the gateway knows them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::switchboard::Switchboard;
use crate::gateway::call::DeviceState;
use crate::gateway::config::Dialect;

impl Switchboard {
    pub(super) fn devices(&self) -> Vec<DeviceState> {
        let Some(roster) = &self.roster else { return self.beside_a_broker() };
        let connected = roster.connected().into_iter().filter_map(|(product, device, since)| {
            let in_flight = self.limiter.of_device(&product, &device);
            self.state(product, device, Some(since), in_flight)
        });
        connected.collect()
    }

    fn beside_a_broker(&self) -> Vec<DeviceState> {
        let mut devices: BTreeMap<(Box<str>, Box<str>), usize> = BTreeMap::new();
        for product in self.products.iter() {
            let name = |device: &str| (product.id.as_str().into(), device.into());
            devices.extend(product.devices.iter().map(|device| (name(&device.name), 0)));
        }
        for (product, device, in_flight) in self.limiter.busy() {
            devices.insert((product, device), in_flight);
        }
        let state = |((product, device), in_flight)| self.state(product, device, None, in_flight);
        devices.into_iter().filter_map(state).collect()
    }

    fn state(
        &self,
        product: Box<str>,
        device: Box<str>,
        since: Option<SystemTime>,
        in_flight: usize,
    ) -> Option<DeviceState> {
        let dialect = match self.products.get(&product)?.dialect {
            Dialect::Aliyun => "aliyun",
            Dialect::Tencent => "tencent",
            Dialect::TencentExplorer => "tencent-explorer",
            Dialect::Native => "native",
        };
        let connected = since.map(|_| true);
        Some(DeviceState { product, device, dialect, connected, since, in_flight })
    }
}
