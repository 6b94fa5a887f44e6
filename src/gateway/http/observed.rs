//! Numbers that others keep, and that are read when Prometheus asks.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `rrpc_gateway_ready` | gauge | 1 while the link to the hub or the broker is up, else 0 |
//! | `rrpc_gateway_devices` | gauge | devices that are connected |
//! | `rrpc_gateway_hub_connections` | gauge | MQTT connections |
//! | `rrpc_gateway_hub_connections_limit` | gauge | as many as there may be; one more is closed |
//! | `rrpc_gateway_hub_forwarded_total` | counter | messages that were passed on |
//! | `rrpc_gateway_hub_refused_total` | counter | messages and subscriptions that were not allowed |
//! | `rrpc_gateway_hub_overflowed_total` | counter | messages that a client's queue had no room for |
//!
//! All but the first are the embedded hub's: beside a broker they are not there.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Front;

impl Collector for Front {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ready = i64::from((self.ready)());
        gauge(&mut encoder, "ready", "Whether calls can be made", ready)?;
        let Some(hub) = &self.hub else { return Ok(()) };
        let stats = (hub.stats)();
        let devices = (hub.devices)();
        gauge(&mut encoder, "devices", "Devices that are connected", number(devices))?;
        let connections = number(stats.connections);
        gauge(&mut encoder, "hub_connections", "MQTT connections", connections)?;
        let text = "As many MQTT connections as there may be";
        gauge(&mut encoder, "hub_connections_limit", text, number(hub.connections))?;
        let text = "Messages that were passed on";
        counter(&mut encoder, "hub_forwarded", text, stats.forwarded)?;
        let text = "Messages and subscriptions that were not allowed";
        counter(&mut encoder, "hub_refused", text, stats.refused)?;
        let text = "Messages that a client's queue had no room for";
        counter(&mut encoder, "hub_overflowed", text, stats.overflowed)
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    write(to, name, help, &ConstGauge::new(value))
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    write(to, name, help, &ConstCounter::new(value))
}

fn write(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(to.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn number(count: usize) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
