//! Who is meant by a topic: filters of a hub, routes of a router, subscriptions of clients.

use std::hint::black_box;

use criterion::BenchmarkId;
use tower_mqtt::core::index::TopicIndex;
use tower_mqtt::core::routes::RouteIndex;
use tower_mqtt::core::subscriptions::{SubscribeOptions, Subscriptions};
use tower_mqtt::core::topic::TopicFilter;

use crate::cpu_time::Criterion;
use crate::topics::{filter, scattered, template, topics};

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];

pub(crate) fn benchmarks(criterion: &mut Criterion) {
    topic_index(criterion);
    route_index(criterion);
    subscriptions(criterion);
}

fn topic_index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("TopicIndex");
    for size in SIZES {
        let mut index = TopicIndex::new();
        for n in 0..size {
            index.insert(&filter(n), n);
        }
        let (topics, mut next) = (topics(size), scattered(size));
        group.bench_function(BenchmarkId::new("find_all", size), |bencher| {
            bencher.iter(|| {
                let mut found = 0;
                index.find_all(&topics[next()], |_| found += 1);
                assert_eq!(found, 1);
            });
        });
        let new = filter(size);
        group.bench_function(BenchmarkId::new("insert and remove", size), |bencher| {
            bencher.iter(|| {
                index.insert(&new, size);
                index.remove(black_box(&new))
            });
        });
    }
}

fn route_index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("RouteIndex");
    for size in SIZES {
        let mut routes = RouteIndex::new();
        for n in 0..size {
            routes.insert(template(n), n).expect("no two are the same");
        }
        let (topics, mut next) = (topics(size), scattered(size));
        group.bench_function(BenchmarkId::new("best", size), |bencher| {
            bencher.iter(|| {
                let best = routes.best(&topics[next()]).expect("each topic has a route");
                *best.value
            });
        });
    }
}

/// `route` reaches one client by its own topic; `route, shared` one member of a group of all.
fn subscriptions(criterion: &mut Criterion) {
    let options = SubscribeOptions { qos: 1_u8, no_local: false };
    let shared = TopicFilter::new("$share/cooks/orders/+").expect("it is a filter");
    let mut group = criterion.benchmark_group("Subscriptions");
    for size in SIZES {
        let mut subscriptions = Subscriptions::new();
        for client in 0..size {
            subscriptions.subscribe(client, &filter(client), options);
            subscriptions.subscribe(client, &shared, options);
        }
        let (topics, mut next, mut out) = (topics(size), scattered(size), Vec::new());
        group.bench_function(BenchmarkId::new("route", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                subscriptions.route(&topics[next()], None, &mut out)
            });
        });
        group.bench_function(BenchmarkId::new("route, shared", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                subscriptions.route(black_box("orders/1"), None, &mut out)
            });
        });
        group.bench_function(BenchmarkId::new("subscribe and unsubscribe", size), |bencher| {
            let new = filter(size);
            bencher.iter(|| {
                subscriptions.subscribe(0, &new, options);
                subscriptions.unsubscribe(0, &new)
            });
        });
        group.bench_function(BenchmarkId::new("connect and leave", size), |bencher| {
            bencher.iter(|| {
                subscriptions.subscribe(size, &shared, options);
                subscriptions.remove_client(size);
            });
        });
    }
}
