//! Topic names, filters, and the index of filters, against a model that is as simple as the standard's
//! text.
//!
//! An input is text. A line that starts with `>` subscribes to the filter that follows, one with `<` ends
//! that subscription, and any other is a topic that is published to.

use std::collections::BTreeMap;

use tower_mqtt::core::index::TopicIndex;
use tower_mqtt::core::topic::{TopicFilter, TopicName, encode_level};

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut index = TopicIndex::new();
    let mut model = BTreeMap::new();
    for (number, line) in text.split('\n').enumerate() {
        check_level(line);
        if let Some(line) = line.strip_prefix('>') {
            let Some(filter) = filter(line) else { continue };
            let replaced = index.insert(&filter, number);
            assert_eq!(replaced, model.insert(filter.filter().to_owned(), number), "{filter}");
        } else if let Some(line) = line.strip_prefix('<') {
            let Some(filter) = filter(line) else { continue };
            assert_eq!(index.remove(&filter), model.remove(filter.filter()), "{filter}");
        } else if let Some(name) = name(line) {
            publish(&name, &index, &model);
        }
        assert_eq!(index.len(), model.len());
    }
    check_overlaps(&model);
    for text in model.keys() {
        assert!(index.remove(&TopicFilter::new(text.as_str()).expect("a filter")).is_some());
    }
    assert!(index.is_empty());
}

fn publish(name: &TopicName, index: &TopicIndex<usize>, model: &BTreeMap<String, usize>) {
    let mut found = Vec::new();
    index.find_all(name.as_str(), |number| found.push(*number));
    found.sort_unstable();
    let mut expected = Vec::new();
    for (text, number) in model {
        let filter = TopicFilter::new(text.as_str()).expect("a filter");
        let matches = is_match(text, name.as_str());
        assert_eq!(filter.matches(name), matches, "{filter} {name}");
        assert_eq!(filter.overlaps(&TopicFilter::exact(name)), matches, "{filter} {name}");
        expected.extend(matches.then_some(*number));
    }
    expected.sort_unstable();
    assert_eq!(found, expected, "{name}");
}

/// MQTT 5 §4.7, level by level.
fn is_match(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => levels(filter, topic),
            ([a, filter @ ..], [b, topic @ ..]) => a == b && levels(filter, topic),
            _ => false,
        }
    }
    let filter: Vec<_> = filter.split('/').collect();
    let topic: Vec<_> = topic.split('/').collect();
    let hidden = topic[0].starts_with('$') && matches!(filter[0], "+" | "#");
    !hidden && levels(&filter, &topic)
}

fn name(line: &str) -> Option<TopicName> {
    let name = TopicName::new(line).ok()?;
    assert!(!line.is_empty() && !line.contains(['+', '#']) && !line.contains(char::is_control));
    assert_eq!(name.as_str(), line);
    assert_eq!(name.levels().collect::<Vec<_>>().join("/"), line);
    assert_eq!(name.is_reserved(), line.starts_with('$'));
    let exact = filter(line).expect("a name is a filter");
    assert!(exact.is_exact() && exact.matches(&name), "{name}");
    Some(name)
}

fn filter(line: &str) -> Option<TopicFilter> {
    let filter = TopicFilter::new(line).ok()?;
    assert_eq!(filter.as_str(), line);
    assert_eq!(filter.levels().collect::<Vec<_>>().join("/"), filter.filter());
    if let Some(share) = filter.share_name() {
        assert_eq!(format!("$share/{share}/{}", filter.filter()), line);
        assert_eq!(filter.shared(share).as_ref(), Ok(&filter));
    } else {
        assert!(filter.filter() == line && !line.starts_with("$share/"));
    }
    assert_eq!(filter.is_exact(), TopicName::new(filter.filter()).is_ok(), "{filter}");
    Some(filter)
}

/// Where two filters match one topic they overlap; `overlaps` has no side.
fn check_overlaps(model: &BTreeMap<String, usize>) {
    let filters: Vec<_> =
        model.keys().take(16).map(|text| TopicFilter::new(text.as_str()).expect("one")).collect();
    for a in &filters {
        assert!(a.overlaps(a), "{a}");
        for b in &filters {
            assert_eq!(a.overlaps(b), b.overlaps(a), "{a} {b}");
        }
    }
}

/// Any text fits into one level, and can be had back.
fn check_level(text: &str) {
    let level = encode_level(text);
    assert!(!level.contains(['/', '+', '#']) && !level.contains(char::is_control), "{level:?}");
    let back = percent_encoding::percent_decode_str(&level).decode_utf8().expect("UTF-8");
    assert_eq!(back, text);
}
