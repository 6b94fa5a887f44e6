//! Topics from templates, and what stands in topics.

use std::hint::black_box;

use criterion::BenchmarkId;
use tower_mqtt::core::template::TopicTemplate;

use crate::cpu_time::Criterion;

const CASES: [(&str, &str, &str); 3] = [
    ("one level", "recipes/{category}/list", "recipes/soup/list"),
    (
        "three levels",
        "/sys/{product}/{device}/rrpc/request/{id}",
        "/sys/a1testPK001/lamp/rrpc/request/1234567890123456789",
    ),
    ("the rest", "/ext/rrpc/{id}/{topic*}", "/ext/rrpc/1234567890123456789/a1testPK001/lamp/get"),
];

pub(crate) fn benchmarks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("TopicTemplate");
    for (name, template, topic) in CASES {
        let template = TopicTemplate::new(template).expect("it is a template");
        let captures = template.capture(topic).expect("the topic is of this template");
        let values: Vec<(&str, &str)> = template
            .names()
            .enumerate()
            .filter_map(|(at, name)| Some((name, captures.get(topic, at)?)))
            .collect();
        let value = |name: &str| values.iter().find(|value| value.0 == name).map(|value| value.1);
        group.bench_function(BenchmarkId::new("capture", name), |bencher| {
            bencher.iter(|| template.capture(black_box(topic)));
        });
        group.bench_function(BenchmarkId::new("render", name), |bencher| {
            bencher.iter(|| template.render(value));
        });
    }
}
