//! What is counted. Each case does its work [`TIMES`] times, as the keys of hash tables are random
//! and so is what one look-up takes; the mean is steady.

use std::hint::black_box;

use gungraun::{Callgrind, LibraryBenchmarkConfig};
use gungraun::{library_benchmark, library_benchmark_group, main};
use tower_mqtt::core::index::TopicIndex;
use tower_mqtt::core::routes::RouteIndex;
use tower_mqtt::core::subscriptions::{SubscribeOptions, Subscriptions};
use tower_mqtt::dialect::rrpc::aliyun;
use tower_mqtt::dialect::{Message, Native};
use tower_mqtt::{Request, Response};

use crate::flight::Flight;
use crate::memory::Memory;
use crate::topics::{filter, scattered, template, topics};
use crate::wire::Wire;

/// How often a case does its work.
pub(crate) const TIMES: usize = 1_000;

/// The C library copies and compares with what the processor offers. Without this the counts would
/// differ from machine to machine.
const PLAIN_PROCESSOR: &str = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX_Fast_Unaligned_Load,-AVX512F,\
                               -AVX512VL,-AVX512BW,-BMI1,-BMI2,-ERMS,-FSRM,-LZCNT,-MOVBE,-RTM,\
                               -SSE4_1,-SSE4_2,-SSSE3";

/// Counts all cases, or the one that the runner asks for.
pub(crate) fn run() {
    main();
}

#[library_benchmark]
#[bench::of_1000(Flight::new(1_000))]
fn exchange_answered(mut flight: Flight) -> Flight {
    for waiter in 0..TIMES {
        black_box(flight.answer(waiter));
    }
    flight
}

#[library_benchmark]
#[bench::of_1000(Flight::new(1_000))]
fn exchange_cancelled(mut flight: Flight) -> Flight {
    for waiter in 0..TIMES {
        black_box(flight.cancel(waiter));
    }
    flight
}

#[library_benchmark]
#[bench::of_1000(Memory::new(1_000))]
fn inbox_executes(mut memory: Memory) -> Memory {
    for _ in 0..TIMES {
        memory.execute();
    }
    memory
}

#[library_benchmark]
#[bench::of_1000(Memory::new(1_000))]
fn inbox_repeats(mut memory: Memory) -> Memory {
    for back in 0..TIMES {
        memory.repeat(back as u64);
    }
    memory
}

type Table<T> = (T, Vec<String>);

fn index(size: usize) -> Table<TopicIndex<usize>> {
    let mut index = TopicIndex::new();
    for n in 0..size {
        index.insert(&filter(n), n);
    }
    (index, topics(size))
}

#[library_benchmark]
#[bench::of_1000(index(1_000))]
fn topic_index((index, topics): Table<TopicIndex<usize>>) -> Table<TopicIndex<usize>> {
    let mut next = scattered(topics.len());
    for _ in 0..TIMES {
        index.find_all(&topics[next()], |value| {
            black_box(value);
        });
    }
    (index, topics)
}

fn routes(size: usize) -> Table<RouteIndex<usize>> {
    let mut routes = RouteIndex::new();
    for n in 0..size {
        routes.insert(template(n), n).expect("no two are the same");
    }
    (routes, topics(size))
}

#[library_benchmark]
#[bench::of_1000(routes(1_000))]
fn route_index((routes, topics): Table<RouteIndex<usize>>) -> Table<RouteIndex<usize>> {
    let mut next = scattered(topics.len());
    for _ in 0..TIMES {
        black_box(routes.best(&topics[next()]));
    }
    (routes, topics)
}

type Clients = Subscriptions<usize, u8>;

fn subscribed(size: usize) -> Table<Clients> {
    let mut subscriptions = Subscriptions::new();
    for client in 0..size {
        let options = SubscribeOptions { qos: 1, no_local: false };
        subscriptions.subscribe(client, &filter(client), options);
    }
    (subscriptions, topics(size))
}

#[library_benchmark]
#[bench::of_1000(subscribed(1_000))]
fn subscriptions((subscriptions, topics): Table<Clients>) -> Table<Clients> {
    let (mut next, mut out) = (scattered(topics.len()), Vec::new());
    for _ in 0..TIMES {
        out.clear();
        black_box(subscriptions.route(&topics[next()], None, &mut out));
    }
    (subscriptions, topics)
}

fn native() -> Wire {
    Wire::new(Native::new(), "a1testPK001/lamp/switch")
}

fn template_dialect() -> Wire {
    Wire::new(aliyun::system(), "a1testPK001/lamp")
}

fn json_dialect() -> Wire {
    Wire::new(aliyun::thing_service(), "a1testPK001/lamp/switch")
}

/// A dialect, and what it writes or reads.
type Work<T> = (Wire, Vec<T>);

fn work<T: Clone>(wire: Wire, item: fn(&Wire) -> &T) -> Work<T> {
    let items = vec![item(&wire).clone(); TIMES];
    (wire, items)
}

#[library_benchmark]
#[bench::native(work(native(), |wire| &wire.request))]
#[bench::template(work(template_dialect(), |wire| &wire.request))]
#[bench::json(work(json_dialect(), |wire| &wire.request))]
fn encode_request((wire, requests): Work<Request>) -> Wire {
    for request in requests {
        black_box(wire.encode_request(request));
    }
    wire
}

#[library_benchmark]
#[bench::native(work(native(), |wire| &wire.request_message))]
#[bench::template(work(template_dialect(), |wire| &wire.request_message))]
#[bench::json(work(json_dialect(), |wire| &wire.request_message))]
fn decode_request((wire, messages): Work<Message>) -> Wire {
    for message in messages {
        black_box(wire.decode_request(message));
    }
    wire
}

#[library_benchmark]
#[bench::native(work(native(), |wire| &wire.response))]
#[bench::template(work(template_dialect(), |wire| &wire.response))]
#[bench::json(work(json_dialect(), |wire| &wire.response))]
fn encode_response((wire, responses): Work<Response>) -> Wire {
    for response in responses {
        black_box(wire.encode_response(response));
    }
    wire
}

#[library_benchmark]
#[bench::native(work(native(), |wire| &wire.response_message))]
#[bench::template(work(template_dialect(), |wire| &wire.response_message))]
#[bench::json(work(json_dialect(), |wire| &wire.response_message))]
fn decode_response((wire, messages): Work<Message>) -> Wire {
    for message in messages {
        black_box(wire.decode_response(message));
    }
    wire
}

library_benchmark_group!(
    name = tables,
    benchmarks = [
        exchange_answered,
        exchange_cancelled,
        inbox_executes,
        inbox_repeats,
        topic_index,
        route_index,
        subscriptions
    ]
);

library_benchmark_group!(
    name = dialects,
    benchmarks = [encode_request, decode_request, encode_response, decode_response]
);

main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["cache-sim=no"]))
        .env("GLIBC_TUNABLES", PLAIN_PROCESSOR);
    library_benchmark_groups = tables, dialects
);
