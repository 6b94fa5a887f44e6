//! Large payloads, and those that are too large.

use tower_mqtt::core::packet::{Qos, ReasonCode};
use tower_mqtt::{InvalidRequest, Request, RequestError, Router};

use super::broker::{Broker, Kind, PACKET_LIMIT};
use super::{call, request, requester, serve};

over_every_transport_of_the_hub! {
    a_quarter_of_a_megabyte_goes_there_and_back,
    what_is_larger_than_the_broker_takes_is_refused_at_once,
}

// Not over WebSocket: Mosquitto 2.0 needs many seconds for what a socket does not take at once.
#[cfg(feature = "tls")]
on_every_broker! {
    @ through_mosquitto_over_tls = Kind::MosquittoTls,
    a_quarter_of_a_megabyte_goes_there_and_back,
    what_is_larger_than_the_broker_takes_is_refused_at_once
}

fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

async fn a_quarter_of_a_megabyte_goes_there_and_back(kind: Kind) {
    let broker = Broker::start(kind).await;
    let router = Router::new().route("echo", async |request: Request| request.payload().clone());
    let _responder = serve(broker.responder_link("responder").await, router).await;
    let requester = requester(broker.link().await).await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        for len in [0, 1, 32 * 1024, 256 * 1024] {
            let sent = pattern(len);
            let request = request("echo", sent.clone()).qos(qos);
            let response = call(&requester, request).await.expect("answered");
            assert!(*response.payload() == sent, "{len} bytes at {qos:?}");
        }
    }
}

async fn what_is_larger_than_the_broker_takes_is_refused_at_once(kind: Kind) {
    let broker = Broker::start(kind).await;
    let router = Router::new().route("echo", async |request: Request| request.payload().clone());
    let _responder = serve(broker.responder_link("responder").await, router).await;
    let requester = requester(broker.link().await).await;
    let large = request("echo", vec![0; 2 * PACKET_LIMIT as usize]);
    match call(&requester, large).await.expect_err("too large") {
        RequestError::InvalidRequest(InvalidRequest::TooLarge { size, limit }) => {
            assert!(size > limit && limit <= PACKET_LIMIT as usize, "{size} {limit}");
        }
        RequestError::Rejected(ReasonCode::PACKET_TOO_LARGE) => {}
        other => panic!("{other:?}"),
    }
    // The connection is as good as before.
    let response = call(&requester, request("echo", "small")).await.expect("answered");
    assert_eq!(response.payload(), "small");
    assert_eq!(requester.stats().in_flight, 0);
}
