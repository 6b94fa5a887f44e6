//! How requests and answers are written and read, in each dialect.

use criterion::{BatchSize, BenchmarkId};

use tower_mqtt::dialect::Native;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::dialect::template::{azure_direct_methods, huawei_commands};

use crate::cpu_time::Criterion;
use crate::wire::Wire;

pub(crate) fn benchmarks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Dialect");
    for (name, wire) in all() {
        group.bench_function(BenchmarkId::new("encode a request", name), |bencher| {
            let request = || wire.request.clone();
            bencher.iter_batched(request, |it| wire.encode_request(it), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("decode a request", name), |bencher| {
            let message = || wire.request_message.clone();
            bencher.iter_batched(message, |it| wire.decode_request(it), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("encode an answer", name), |bencher| {
            let response = || wire.response.clone();
            bencher.iter_batched(response, |it| wire.encode_response(it), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("decode an answer", name), |bencher| {
            let message = || wire.response_message.clone();
            bencher.iter_batched(message, |it| wire.decode_response(it), BatchSize::SmallInput);
        });
    }
}

fn all() -> [(&'static str, Wire); 9] {
    [
        ("native", Wire::new(Native::new(), "a1testPK001/lamp/switch")),
        ("aliyun system", Wire::new(aliyun::system(), "a1testPK001/lamp")),
        ("aliyun custom", Wire::new(aliyun::custom(), "a1testPK001/lamp/user/get")),
        ("aliyun thing_service", Wire::new(aliyun::thing_service(), "a1testPK001/lamp/switch")),
        ("tencent rrpc", Wire::new(tencent::rrpc(), "a1testPK001/lamp")),
        ("tencent explorer", Wire::new(tencent::explorer(), "a1testPK001/lamp")),
        ("tencent client_token", Wire::new(tencent::client_token(), "a1testPK001/lamp/control")),
        ("azure", Wire::new(azure_direct_methods(), "switch")),
        ("huawei", Wire::new(huawei_commands(), "lamp")),
    ]
}
