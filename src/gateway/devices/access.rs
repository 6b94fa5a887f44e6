//! What a device, and a server, may publish and subscribe to. Asked for every message.

use std::str::Split;

use super::super::config::Dialect;
use super::super::keys::Key;
use super::super::products::Products;
use super::who::Name;
use crate::core::topic::encode_level;
use crate::hub::Access;

/// What topics begin with that are not those of a product: no product of such a name has topics that
/// begin with its id.
const SPACES: [&str; 8] =
    ["sys", "ext", "shadow", "ota", "broadcast", "devices", "clients", "gateways"];

type Levels<'a> = Split<'a, char>;

/// Whether a device may do this: with its own topics, where its dialect has them, and with the response
/// topics of those who ask with MQTT 5.
pub(super) fn of_device(
    dialect: Dialect,
    own: Name<'_>,
    client_id: &str,
    access: Access<'_>,
) -> bool {
    let topic = match access {
        Access::Publish(topic) => topic.as_str(),
        Access::Subscribe(filter) if filter.share_name().is_some() => return false,
        Access::Subscribe(filter) => filter.filter(),
    };
    is_own(dialect, own, topic) || may_use_responses(client_id, access, true)
}

/// Whether a server may do this: ask the devices of the products that its key may call, hear the answers,
/// and hear what such devices publish on topics that were chosen for them.
pub(super) fn of_key(key: &Key, products: &Products, client_id: &str, access: Access<'_>) -> bool {
    let may_call = |product: &str| products.get(product).is_some() && key.may_call(product);
    let its_topics = match access {
        Access::Publish(topic) => {
            let mut levels = topic.as_str().split('/');
            levels.next() == Some("devices")
                && levels.next().is_some_and(may_call)
                && levels.next().is_some()
        }
        Access::Subscribe(filter) => {
            let mut levels = filter.filter().split('/');
            levels.next() == Some("")
                && levels.next().is_some_and(|product| has_space(product) && may_call(product))
                && levels.next().is_some()
                && levels.next() == Some("user")
                && levels.next().is_some()
        }
    };
    its_topics || may_use_responses(client_id, access, false)
}

fn is_own(dialect: Dialect, own: Name<'_>, topic: &str) -> bool {
    let levels = topic.split('/');
    let is_own = match dialect {
        Dialect::Aliyun => aliyun(own, levels),
        Dialect::Tencent | Dialect::TencentExplorer => tencent(own, levels),
        Dialect::Native => native(own, levels),
    };
    is_own.unwrap_or(false)
}

/// The response topics that the hub gives out: a device answers all who ask, and hears only its own.
fn may_use_responses(client_id: &str, access: Access<'_>, answers: bool) -> bool {
    let (topic, owner) = match access {
        Access::Publish(topic) => (topic.as_str(), None),
        Access::Subscribe(filter) => (filter.filter(), Some(encode_level(client_id))),
    };
    let mut levels = topic.split('/');
    levels.next() == Some("clients")
        && match (levels.next(), owner) {
            (Some(client), Some(owner)) => client == owner,
            (Some(_), None) => answers,
            (None, _) => false,
        }
        && levels.next() == Some("responses")
}

/// Whether topics that begin with the id of this product are its own.
pub(crate) fn has_space(product: &str) -> bool {
    !SPACES.contains(&product)
}

/// Whether the next two levels are the device; the levels behind.
fn behind<'a>(own: Name<'_>, mut levels: Levels<'a>) -> Option<Levels<'a>> {
    (levels.next()? == own.product && levels.next()? == own.device).then_some(levels)
}

fn is_or_is_below(own: Name<'_>, levels: Levels<'_>) -> bool {
    behind(own, levels).is_some()
}

fn is_below(own: Name<'_>, levels: Levels<'_>) -> bool {
    behind(own, levels).is_some_and(|mut rest| rest.next().is_some())
}

/// `/{product}/{device}/…`, `/sys/{product}/{device}/…`, the two below `/ext/rrpc/{id}`, and what the
/// platform has for shadows, updates and the like.
fn aliyun(own: Name<'_>, mut levels: Levels<'_>) -> Option<bool> {
    if !levels.next()?.is_empty() {
        return None;
    }
    let custom = levels.clone();
    Some(match levels.next()? {
        "sys" => is_below(own, levels),
        "ext" => match levels.next()? {
            "rrpc" => {
                levels.next()?;
                aliyun_rrpc(own, levels)?
            }
            "+" => false,
            _ => is_or_is_below(own, levels),
        },
        "shadow" => ["update", "get"].contains(&levels.next()?) && is_or_is_below(own, levels),
        "ota" => {
            let of_device = levels.next()? == "device";
            levels.next()?;
            of_device && is_or_is_below(own, levels)
        }
        product => has_space(product) && is_below(own, custom),
    })
}

/// Behind `/ext/rrpc/{id}`: the topic of a request, with its leading slash or without.
fn aliyun_rrpc(own: Name<'_>, mut levels: Levels<'_>) -> Option<bool> {
    let slash = levels.clone();
    if !levels.next()?.is_empty() {
        levels = slash;
    }
    let custom = levels.clone();
    Some(match levels.next()? {
        "sys" => is_below(own, levels),
        product => has_space(product) && is_below(own, custom),
    })
}

/// `{product}/{device}/…`, `$rrpc/rxd/{product}/{device}/…`, and what the platform has besides.
fn tencent(own: Name<'_>, mut levels: Levels<'_>) -> Option<bool> {
    let custom = levels.clone();
    Some(match levels.next()? {
        "$rrpc" => ["rxd", "txd"].contains(&levels.next()?) && is_below(own, levels),
        "$iotrrpc" => ["down", "up"].contains(&levels.next()?) && is_below(own, levels),
        "$sys" | "$shadow" | "$gateway" | "$log" => {
            if levels.next()? != "operation" {
                return None;
            }
            // No product of such a name has topics here: they would be those of another's device.
            let direct = levels.clone();
            let result = ["result", "get"].contains(&levels.next()?);
            is_or_is_below(own, if result { levels } else { direct })
        }
        "$thing" => {
            let direction = ["up", "down"].contains(&levels.next()?);
            levels.next()?;
            direction && is_or_is_below(own, levels)
        }
        "$ota" => ["report", "update"].contains(&levels.next()?) && is_or_is_below(own, levels),
        "$broadcast" => levels.next()? == "rxd" && is_or_is_below(own, levels),
        product => has_space(product) && is_below(own, custom),
    })
}

/// `devices/{product}/{device}`, and below.
fn native(own: Name<'_>, mut levels: Levels<'_>) -> Option<bool> {
    Some(levels.next()? == "devices" && is_or_is_below(own, levels))
}

#[cfg(test)]
mod tests;
