//! What vendors' devices do wrong, and what our requester makes of it.

use tower::ServiceExt;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::requester::OneInFlight;
use tower_mqtt::{RequestError, Requester};

use crate::broker::{Broker, Kind};
use crate::programs::soon;
use crate::raw::{Connect, Properties, Raw};
use crate::{AIR_CONDITIONER, LAMP, ask, device, impatient, requester};

on_every_broker! {
    copies_of_an_answer_are_counted,
    a_device_that_hears_itself_does_not_mislead_the_caller,
    overlapping_calls_that_the_device_mixes_up_have_one_outcome_each,
    a_device_that_mixes_calls_up_is_called_one_at_a_time,
    stale_digits_stay_in_tencents_sdk_for_c,
}

/// Waits until so many copies of answers have come, and no more than that.
async fn copies(requester: &Requester, count: u64) {
    soon(async {
        while requester.stats().duplicate < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(requester.stats().duplicate, count);
}

async fn copies_of_an_answer_are_counted(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "aliyun_device.py", &["--copies", "3"]).await;
    let requester = requester(&broker, aliyun::system()).await;
    for (number, payload) in ["one", "two", "three"].into_iter().enumerate() {
        assert_eq!(ask(&requester, LAMP, payload).await, payload.as_bytes());
        copies(&requester, 2 * (number as u64 + 1)).await;
    }
    assert_eq!(requester.stats().answered, 3);
    assert_eq!(requester.stats().unknown, 0);
}

/// With MQTT 3.1.1 there is no No Local: where the broker sends the device its own answer, it answers
/// that as well, and so on. The device of this test gives up after twenty.
async fn a_device_that_hears_itself_does_not_mislead_the_caller(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "aliyun_device.py", &["--most", "20"]).await;
    let requester = requester(&broker, aliyun::custom()).await;
    assert_eq!(ask(&requester, &format!("{LAMP}/user/get"), "one").await, b"one");
    if kind == Kind::Mosquitto {
        copies(&requester, 19).await;
        assert_eq!(requester.stats().loops, 1);
    }
    assert_eq!(requester.stats().answered, 1);
    assert_eq!(requester.stats().unknown, 0);
}

/// Three requests, three answers, all of them on the last id.
async fn overlapping_calls_that_the_device_mixes_up_have_one_outcome_each(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "aliyun_node_device.py", &["--after", "3"]).await;
    let requester = requester(&broker, aliyun::system()).await;
    let calls = ["1", "2", "3"].map(|id| {
        let method = r#""method":"thing.service.light""#;
        let payload = format!(r#"{{{method},"id":"{id}","params":{{}},"version":"1.0.0"}}"#);
        tokio::spawn(requester.clone().oneshot(impatient(LAMP, payload)))
    });
    let (mut answered, mut timed_out) = (0, 0);
    for call in calls {
        match soon(call).await.expect("no panic") {
            Ok(_) => answered += 1,
            Err(RequestError::Timeout) => timed_out += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((answered, timed_out), (1, 2));
    copies(&requester, 2).await;
}

/// It answers late, on the process id that it saw last.
async fn a_device_that_mixes_calls_up_is_called_one_at_a_time(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "tencent_device.py", &["--late", "0.05"]).await;
    let requester = Requester::builder(broker.link().await)
        .dialect(tencent::rrpc())
        .one_in_flight(OneInFlight::PerDevice);
    let requester = soon(requester.build()).await.expect("subscribed to the answers");
    let calls = [r#""one""#, r#""two""#, r#""three""#].map(|payload| {
        let requester = requester.clone();
        (payload, tokio::spawn(async move { ask(&requester, AIR_CONDITIONER, payload).await }))
    });
    for (payload, call) in calls {
        assert_eq!(soon(call).await.expect("no panic"), payload.as_bytes());
    }
    assert_eq!(requester.stats().duplicate, 0);
}

/// Why process ids have a constant width.
async fn stale_digits_stay_in_tencents_sdk_for_c(kind: Kind) {
    let broker = Broker::start(kind).await;
    let _device = device(&broker, "tencent_device.py", &["--sdk", "c"]).await;
    let mut server = Raw::connect(broker.address(), &Connect::new("server").version(4)).await;
    assert_eq!(server.subscribe(&format!("$rrpc/txd/{AIR_CONDITIONER}/+"), 0).await, 0);
    for (asked, answered) in [("41440", "41440"), ("74", "74440"), ("27041", "27041")] {
        let topic = format!("$rrpc/rxd/{AIR_CONDITIONER}/{asked}");
        server.publish(0x30, &topic, b"ok", &Properties::none()).await;
        let answer = server.message().await;
        assert_eq!(answer.topic, format!("$rrpc/txd/{AIR_CONDITIONER}/{answered}"));
        assert_eq!(answer.payload, b"ok");
    }
}
