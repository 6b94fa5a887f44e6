//! A vendor's server calls our device: one router answers in every dialect.

use tower::ServiceExt;
use tower_mqtt::dialect::Native;
use tower_mqtt::dialect::rrpc::{aliyun, tencent};
use tower_mqtt::{Request, RequestError, Responder, Router, Status};

use crate::broker::{Broker, Kind};
use crate::programs::{mosquitto_client, output, python, soon};
use crate::{LAMP, Spectator, ask, call, impatient, requester};

on_every_broker! {
    one_router_answers_servers_of_every_vendor,
    our_device_does_not_hear_itself,
    a_failure_is_silence_where_there_is_no_status,
}

/// In capitals; what is secret is refused.
async fn shout(request: Request) -> Result<Vec<u8>, Status> {
    if request.payload() == "secret" {
        return Err(Status::FORBIDDEN);
    }
    Ok(request.payload().to_ascii_uppercase())
}

/// A responder that speaks every dialect at once.
async fn shouter(broker: &Broker) -> Responder {
    let router = Router::new()
        .route("{product}/{device}", shout)
        .route("{product}/{device}/user/get", shout);
    let responder = Responder::builder(broker.responder_link("devices").await)
        .dialect(Native::new())
        .dialect(aliyun::system())
        .dialect(aliyun::custom())
        .dialect(tencent::rrpc());
    soon(responder.serve(router)).await.expect("subscribed")
}

async fn one_router_answers_servers_of_every_vendor(kind: Kind) {
    let broker = Broker::start(kind).await;
    let responder = shouter(&broker).await;
    let port = broker.address().port();
    let ali = ["aliyun-system", "aliyun-custom", "aliyun-custom-double"];
    let mut answered = 0;
    for dialect in ali.into_iter().chain(["tencent"]) {
        // No id comes twice: our device takes such a request for its own answer.
        for (protocol, first_id) in [("3.1.1", "41440"), ("5", "51440")] {
            let mut server = python("rrpc_server.py", port);
            server.args([dialect, "one", "two", "three"]);
            server.args(["--protocol", protocol, "--first-id", first_id]);
            let lines = output(server).await;
            assert_eq!(lines, "one 0 ONE\ntwo 0 TWO\nthree 0 THREE\n", "{dialect} {protocol}");
            answered += 3;
        }
    }
    let mut native = mosquitto_client("mosquitto_rr", port);
    native.args(["-t", LAMP, "-e", "answers/for/rr", "-m", "one", "-W", "20"]);
    assert_eq!(output(native).await.trim_end(), "ONE");
    let refused = call(&requester(&broker, Native::new()).await, LAMP, "secret").await;
    assert_eq!(refused.expect("answered").status(), &Status::FORBIDDEN);
    assert_eq!(responder.stats().answered, answered + 2);
    assert_eq!(responder.stats().received, answered + 2);
}

async fn our_device_does_not_hear_itself(kind: Kind) {
    let broker = Broker::start(kind).await;
    let responder = shouter(&broker).await;
    let requester = requester(&broker, aliyun::custom()).await;
    let mut spectator = Spectator::new(&broker).await;
    let address = format!("{LAMP}/user/get");
    assert_eq!(ask(&requester, &address, "one").await, b"ONE");
    assert_eq!(ask(&requester, &address, "two").await, b"TWO");

    assert_eq!(spectator.see_payloads(4).await, ["ONE", "TWO", "one", "two"]);
    spectator.has_seen_everything().await;
    assert_eq!(responder.stats().received, 2);
}

async fn a_failure_is_silence_where_there_is_no_status(kind: Kind) {
    let broker = Broker::start(kind).await;
    let responder = shouter(&broker).await;
    let mut spectator = Spectator::new(&broker).await;
    let mut server = python("rrpc_server.py", broker.address().port());
    server.args(["tencent", "closed", "--first-id", "27041"]);
    let requester = requester(&broker, tencent::rrpc()).await;
    let secret = impatient(LAMP, "secret");
    let error = soon(requester.oneshot(secret)).await.err();
    assert_eq!(error, Some(RequestError::Timeout));
    assert_eq!(output(server).await, "closed 0 CLOSED\n");

    assert_eq!(spectator.see_payloads(3).await, ["CLOSED", "closed", "secret"]);
    spectator.has_seen_everything().await;
    assert_eq!(responder.stats().unsaid, 1);
}
