//! How devices are named, and which topics are theirs.

use crate::core::topic::{TopicFilter, TopicName};
use crate::gateway::config::Dialect;
use crate::gateway::devices::has_space;

/// Slashes in a topic of a device's. Brokers close the connection because of more than they count:
/// Mosquitto of 200, EMQX of 128; and an exchange may add three.
const DEEPEST: usize = 64;

/// Whether a topic is a device's own: what the gateway may publish to for it.
///
/// | dialect | topics |
/// |---|---|
/// | Aliyun | `/{product}/{device}/…` |
/// | Tencent's | `{product}/{device}/…` |
/// | native | `devices/{product}/{device}`, and below |
///
/// None has more than 64 slashes. Those that begin with `$` or `/sys/` are the platform's, and an exchange
/// on them is a call. A product whose id is the name of such a space, such as `sys`, has no topics of its
/// own but native ones.
pub(super) fn is_own(dialect: Dialect, product: &str, device: &str, topic: &TopicName) -> bool {
    let rest = match dialect {
        _ if dialect != Dialect::Native && !has_space(product) => None,
        Dialect::Aliyun => topic.as_str().strip_prefix('/'),
        Dialect::Tencent | Dialect::TencentExplorer => Some(topic.as_str()),
        Dialect::Native => topic.as_str().strip_prefix("devices/"),
    };
    let of_product = rest.and_then(|rest| rest.strip_prefix(product)?.strip_prefix('/'));
    let is_deep = topic.as_str().bytes().filter(|byte| *byte == b'/').nth(DEEPEST).is_some();
    match of_product.and_then(|rest| rest.strip_prefix(device)) {
        _ if is_deep => false,
        Some("") => dialect == Dialect::Native,
        Some(below) => below.starts_with('/') && below.len() > 1,
        None => false,
    }
}

/// Whether all topics of a filter are the own ones of a device of Tencent's.
pub(super) fn are_own(product: &str, device: &str, filter: &TopicFilter) -> bool {
    let topics = filter.filter();
    let of_product = topics.strip_prefix(product).and_then(|rest| rest.strip_prefix('/'));
    let of_device = of_product.and_then(|rest| rest.strip_prefix(device)?.strip_prefix('/'));
    let is_deep = topics.bytes().filter(|byte| *byte == b'/').nth(DEEPEST).is_some();
    let is_below = of_device.is_some_and(|below| !below.is_empty());
    is_below && has_space(product) && filter.share_name().is_none() && !is_deep
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_too_deep_for_a_broker_is_nobodys() {
        let own = |slashes| {
            let topic = format!("/p/d{}", "/".repeat(slashes));
            is_own(Dialect::Aliyun, "p", "d", &TopicName::new(topic).unwrap())
        };
        assert!(own(DEEPEST - 2) && !own(DEEPEST - 1));
    }

    #[test]
    fn a_product_that_is_called_as_a_space_of_the_platform_does_not_own_it() {
        for (dialect, product, topic) in [
            (Dialect::Aliyun, "sys", "/sys/p/d/rrpc/request/1"),
            (Dialect::Aliyun, "ext", "/ext/p/x"),
            (Dialect::TencentExplorer, "devices", "devices/p/d"),
            (Dialect::TencentExplorer, "gateways", "gateways/p/alive/x"),
        ] {
            assert!(!is_own(dialect, product, "p", &TopicName::new(topic).unwrap()), "{topic}");
        }
        let native = TopicName::new("devices/sys/p/x").unwrap();
        assert!(is_own(Dialect::Native, "sys", "p", &native));
    }

    #[test]
    fn a_device_has_its_own_topics_and_no_others() {
        let own = |dialect, topic: &str| is_own(dialect, "p", "d", &TopicName::new(topic).unwrap());
        for (dialect, topics) in [
            (Dialect::Aliyun, ["/p/d/user/get", "/p/d/x"]),
            (Dialect::TencentExplorer, ["p/d/control", "p/d/x/y"]),
            (Dialect::Native, ["devices/p/d", "devices/p/d/x"]),
        ] {
            for topic in topics {
                assert!(own(dialect, topic), "{topic}");
            }
            for topic in [
                "p",
                "p/d",
                "/p/d",
                "p/d2/x",
                "/p/d2/x",
                "/p/d/",
                "devices/p/d2",
                "devices/p/d/",
                "devices/p",
                "/sys/p/d/rrpc/request/1",
                "$rrpc/rxd/p/d/1",
                "x/p/d/x",
                "//p/d/x",
            ] {
                assert!(!own(dialect, topic), "{dialect:?} {topic}");
            }
        }
    }
}
