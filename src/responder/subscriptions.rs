//! What a responder subscribes to for its routes, so that no request comes twice.

use crate::core::packet::Subscription;
use crate::error::ServeError;

/// Those of `all` that bring what the others bring as well. A server may send a copy for each
/// subscription that a message matches (MQTT 5 §3.3.4), and must when they have a share name, as then
/// each filter is a group of its own (§4.8.2).
///
/// # Errors
/// [`ServeError::Configuration`] when two with a share name have only a part of their topics in
/// common.
pub(super) fn without_copies<'s>(
    all: impl Iterator<Item = &'s Subscription>,
) -> Result<Vec<Subscription>, ServeError> {
    let mut needed: Vec<&Subscription> = Vec::new();
    for subscription in all {
        if !needed.iter().any(|other| brings(other, subscription)) {
            needed.retain(|other| !brings(subscription, other));
            needed.push(subscription);
        }
    }
    for (at, first) in needed.iter().enumerate() {
        let share_name = first.filter.share_name();
        let mut others = needed[at + 1..].iter().filter(|_| share_name.is_some());
        if let Some(second) = others.find(|other| first.filter.overlaps(&other.filter)) {
            let (name, first) = (share_name.unwrap_or_default(), first.filter.filter());
            let text = format!(
                "share name {name:?}: a request may be for both {first} and {}, and would be handled \
                 twice; change one of these routes, or add one that has the topics of both",
                second.filter.filter()
            );
            return Err(ServeError::Configuration(text.into()));
        }
    }
    Ok(needed.into_iter().cloned().collect())
}

/// Whether `wide` brings everything that `narrow` does.
fn brings(wide: &Subscription, narrow: &Subscription) -> bool {
    wide.filter.covers(&narrow.filter)
        && wide.qos >= narrow.qos
        && (narrow.no_local || !wide.no_local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::packet::Qos;
    use crate::core::topic::TopicFilter;

    fn subscription(filter: &str) -> Subscription {
        Subscription::new(TopicFilter::new(filter).unwrap())
    }

    fn needed(filters: &[&str]) -> Result<Vec<String>, String> {
        let all: Vec<_> = filters.iter().map(|filter| subscription(filter)).collect();
        let needed = without_copies(all.iter()).map_err(|error| error.to_string())?;
        Ok(needed.iter().map(|subscription| subscription.filter.to_string()).collect())
    }

    #[test]
    fn what_another_brings_is_not_subscribed_to() {
        for order in [["a/+", "a/b", "c"], ["a/b", "c", "a/+"]] {
            let mut needed = needed(&order).unwrap();
            needed.sort();
            assert_eq!(needed, ["a/+", "c"]);
        }
        assert_eq!(needed(&["a", "a", "b/+", "b/#"]).unwrap(), ["a", "b/#"]);
        assert_eq!(needed(&["$share/k/a/b", "$share/k/#"]).unwrap(), ["$share/k/#"]);
    }

    #[test]
    fn one_that_leaves_something_out_brings_nothing_else() {
        let narrow = subscription("a/b");
        let no_local = Subscription { no_local: true, ..subscription("a/+") };
        let weaker = Subscription { qos: Qos::AtMostOnce, ..subscription("a/+") };
        for wide in [no_local, weaker] {
            assert_eq!(without_copies([&wide, &narrow].into_iter()).unwrap().len(), 2);
        }
    }

    #[test]
    fn a_share_name_needs_routes_that_do_not_cross() {
        let error = needed(&["$share/k/x", "$share/k/a/+/c", "$share/k/a/b/+"]).unwrap_err();
        assert!(["\"k\"", " a/+/c ", " a/b/+,"].iter().all(|part| error.contains(part)), "{error}");
        let wider = ["$share/k/a/+/c", "$share/k/a/b/+", "$share/k/a/+/+"];
        assert_eq!(needed(&wider).unwrap(), ["$share/k/a/+/+"]);
        assert_eq!(needed(&["a/+/c", "a/b/+"]).unwrap(), ["a/+/c", "a/b/+"]);
    }
}
