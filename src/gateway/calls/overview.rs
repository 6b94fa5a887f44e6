//! The devices, as far as the gateway knows them.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::switchboard::Switchboard;
use crate::gateway::call::DeviceState;
use crate::gateway::listing::{Listed, Name, Wanted};

impl Switchboard {
    pub(super) fn devices(&self, wanted: &Wanted<'_>) -> Listed {
        let Some(roster) = &self.roster else { return self.beside_a_broker(wanted) };
        let Listed { first, left } = roster.connected(wanted);
        let states = first
            .iter()
            .filter_map(|(product, device, since)| self.state((product, device), Some(*since)));
        Listed { first: states.collect(), left }
    }

    /// Those of the configuration, and of the others those that are called.
    fn beside_a_broker(&self, wanted: &Wanted<'_>) -> Listed {
        let busy = self.limiter.busy();
        let mut others: BTreeSet<Name<'_>> = busy.iter().map(|(p, d)| (&**p, &**d)).collect();
        let mut configured = Vec::new();
        for product in self.products.iter() {
            for device in &product.devices {
                let name = (product.id.as_str(), device.name.as_str());
                others.remove(&name);
                configured.push(name);
            }
        }
        let all = configured.into_iter().chain(others).map(|name| (name, ()));
        let Listed { first, left } = wanted.first(all);
        let states = first.into_iter().filter_map(|(name, ())| self.state(name, None));
        Listed { first: states.collect(), left }
    }

    fn state(&self, name: Name<'_>, since: Option<SystemTime>) -> Option<DeviceState> {
        let (product, device) = name;
        Some(DeviceState {
            product: product.into(),
            device: device.into(),
            dialect: self.products.get(product)?.dialect.name(),
            connected: since.map(|_| true),
            since,
            in_flight: self.limiter.of_device(product, device),
        })
    }
}
