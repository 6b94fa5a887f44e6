//! Templates: what is rendered is captured, what is captured is rendered, and a projected filter has
//! every topic that it should.
//!
//! An input is text: a template, a second one, a filter, a topic, and values, a line each.

use std::collections::BTreeMap;

use tower_mqtt::core::routes::RouteIndex;
use tower_mqtt::core::template::TopicTemplate;
use tower_mqtt::core::topic::{TopicFilter, TopicName};

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (first, second) = (TopicTemplate::new(line()), TopicTemplate::new(line()));
    let (filter, topic) = (TopicFilter::new(line()), TopicName::new(line()));
    let values: Vec<&str> = lines.collect();
    let Ok(template) = first else { return };
    assert_eq!(TopicTemplate::new(template.to_filter().as_str()).is_ok(), is_literal(&template));
    let mut topics: Vec<TopicName> = topic.into_iter().collect();
    topics.extend(render(&template, &values));
    for topic in &topics {
        capture(&template, topic);
    }
    let Ok(onto) = second else { return };
    if let Ok(filter) = filter {
        for topic in &topics {
            project(&template, &filter, &onto, topic);
        }
    }
    route(&template, &onto, &topics);
}

fn is_literal(template: &TopicTemplate) -> bool {
    template.names().next().is_none()
}

fn render(template: &TopicTemplate, values: &[&str]) -> Option<TopicName> {
    let names: Vec<_> = template.names().collect();
    let values: BTreeMap<&str, &str> = names.iter().copied().zip(values.iter().copied()).collect();
    let topic = template.render(|name| values.get(name).copied()).ok()?;
    let captures = template.capture(topic.as_str());
    let captures = captures.unwrap_or_else(|| panic!("{template} does not capture its {topic}"));
    for (index, name) in names.iter().enumerate() {
        assert_eq!(captures.get(topic.as_str(), index), values.get(name).copied(), "{template}");
    }
    Some(topic)
}

fn capture(template: &TopicTemplate, topic: &TopicName) {
    let Some(captures) = template.capture(topic.as_str()) else { return };
    assert!(template.to_filter().matches(topic), "{template} {topic}");
    let values: BTreeMap<&str, &str> = template
        .names()
        .enumerate()
        .map(|(index, name)| (name, captures.get(topic.as_str(), index).expect("captured")))
        .collect();
    assert_eq!(captures.len(), values.len(), "{template}: names differ");
    assert!(values.values().all(|value| !value.is_empty()));
    assert_eq!(template.render(|name| values.get(name).copied()).as_ref(), Ok(topic), "{template}");
}

/// A topic that `filter` matches, written as `onto` has it, is matched by the projection.
fn project(
    template: &TopicTemplate,
    filter: &TopicFilter,
    onto: &TopicTemplate,
    topic: &TopicName,
) {
    let projected = template.project(filter, onto);
    if !filter.matches(topic) {
        return;
    }
    let Some(captures) = template.capture(topic.as_str()) else { return };
    let value = |name: &str| {
        let index = template.names().position(|own| own == name);
        index.map_or(Some("any"), |index| captures.get(topic.as_str(), index))
    };
    let Ok(written) = onto.render(value) else { return };
    let projected = projected.unwrap_or_else(|| panic!("{template} {filter} {onto}: {topic}"));
    assert!(projected.matches(&written), "{template} {filter} {onto}: {topic} {projected}");
}

/// The best of two routes is one that captures the topic, and the narrower one if both do.
fn route(first: &TopicTemplate, second: &TopicTemplate, topics: &[TopicName]) {
    assert_eq!(first.conflicts_with(second), second.conflicts_with(first));
    let order = first.cmp_specificity(second);
    assert_eq!(order, second.cmp_specificity(first).reverse());
    let mut index = RouteIndex::new();
    index.insert(first.clone(), 0).expect("the first has no conflict");
    assert_eq!(index.insert(second.clone(), 1).is_err(), first.conflicts_with(second));
    for topic in topics {
        let best = index.best(topic.as_str()).map(|found| *found.value);
        let (a, b) = (first.capture(topic.as_str()), second.capture(topic.as_str()));
        let expected = match (a.is_some(), b.is_some()) {
            (false, false) => None,
            (true, false) => Some(0),
            (false, true) => Some(usize::from(index.len() > 1)),
            (true, true) => Some(usize::from(order.is_gt())),
        };
        assert_eq!(best, expected, "{first} {second} {topic}");
    }
}
