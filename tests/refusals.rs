//! Every failure is answered, and what the broker refuses is an error at once. The responder
//! publishes only where it may.

#![cfg(feature = "json")]

mod support;

use std::time::Duration;

use support::*;
use tokio::sync::mpsc;
use tower_mqtt::core::packet::{Qos, ReasonCode};
use tower_mqtt::dialect::{Message, Native};
use tower_mqtt::link::memory::Network;
use tower_mqtt::responder::extract::{Json, Path};
use tower_mqtt::{
    Delivery, InvalidRequest, Request, RequestError, Requester, Responder, Router, ServeError,
    Status,
};

fn router() -> Router {
    Router::new()
        .route("add", async |Json((a, b)): Json<(u32, u32)>| (a + b).to_string())
        .route("panic", async || -> () { panic!("as the test wants it") })
        .route("panic/early", |_: Request| -> std::future::Ready<()> {
            panic!("before there is a future")
        })
        .route("get/{name}", async |Path(name): Path<String>| name)
        .route("log/{rest*}", async || "logged")
        .route("teapot", async || Err::<(), _>(Status::new(418).with_message("short and stout")))
}

/// Nothing but the answer may take time: paused time stands still.
async fn at_once<T>(future: impl Future<Output = T>) -> T {
    let (elapsed, output) = timed(future).await;
    assert_eq!(elapsed, Duration::ZERO);
    output
}

#[tokio::test(start_paused = true)]
async fn every_failure_of_a_handler_is_answered_and_the_responder_goes_on() {
    let (_network, requester, responder) = ask_and_answer(router()).await;
    for (request, expected) in [
        (Request::new("add", "[1, 2").unwrap(), 400),
        (Request::new("add", r#"{"a":1}"#).unwrap(), 400),
        (Request::new("add", vec![0xFF, 0xFE]).unwrap(), 400),
        (Request::new("add", "[1, 2]").unwrap().with_content_type("text/xml"), 415),
        (to("panic"), 500),
        (to("panic/early"), 500),
        (to("get/"), 404),
        (to("log"), 404),
        (to("teapot"), 418),
    ] {
        let topic = request.topic().clone();
        let response = at_once(call(&requester, request)).await.unwrap();
        assert_eq!(response.status().code(), expected, "{topic}");
    }
    let response = call(&requester, Request::json_from("add", &(1, 2)).unwrap()).await.unwrap();
    assert_eq!(response.payload(), "3");
    assert_eq!((responder.stats().panicked, responder.stats().in_flight), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_nobody_serves_is_no_responder_at_once() {
    let (_network, requester, _responder) = ask_and_answer(router()).await;
    let error = at_once(call(&requester, to("nobody/home"))).await.unwrap_err();
    assert_eq!((&error, error.delivery()), (&RequestError::NoResponder, Delivery::NotDelivered));
    assert_eq!(requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_broker_refuses_is_rejected_at_once() {
    let (network, requester, responder) = ask_and_answer(router()).await;
    for reason in [ReasonCode::NOT_AUTHORIZED, ReasonCode::QUOTA_EXCEEDED] {
        let name = format!("get/{}", reason.get());
        network.refuse_messages(filter(&name), reason);
        let error = at_once(call(&requester, to(&name))).await.unwrap_err();
        assert_eq!(error, RequestError::Rejected(reason));
        assert_eq!(error.delivery(), Delivery::NotDelivered);
    }
    assert_eq!((responder.stats().received, requester.stats().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_broker_refuses_is_counted() {
    let (network, requester, responder) = ask_and_answer(router()).await;
    network.refuse_messages(filter("clients/asker/responses"), ReasonCode::NOT_AUTHORIZED);
    let timeout = call(&requester, to("get/x").timeout(SECOND)).await.unwrap_err();
    assert_eq!(timeout, RequestError::Timeout);
    assert_eq!(responder.stats().undelivered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_is_an_error_of_build_and_of_serve() {
    let network = Network::new();
    let refuse = |f: &str| network.refuse_subscription(filter(f), ReasonCode::NOT_AUTHORIZED);
    refuse("clients/asker/responses");
    let error = at_once(Requester::builder(network.link("asker")).build()).await.unwrap_err();
    let ServeError::Subscribe { filter: refused, reason } = error else { panic!("{error}") };
    assert_eq!((refused, reason), (filter("clients/asker/responses"), ReasonCode::NOT_AUTHORIZED));

    refuse("get/+");
    let link = network.link("answerer");
    let error = at_once(Responder::builder(link.clone()).serve(router())).await.unwrap_err();
    assert!(matches!(error, ServeError::Subscribe { .. }), "{error}");
    settle().await;
    assert!(!network.has_subscriber(&topic("add")), "the other subscriptions are undone");
    assert!(link.is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_refused_after_a_reconnect_fails_calls_at_once() {
    let (network, requester, _responder) = ask_and_answer(router()).await;
    let reason = ReasonCode::NOT_AUTHORIZED;
    network.refuse_subscription(filter("clients/asker/responses"), reason);
    network.disconnect("asker");
    requester.link().disconnected().await;
    network.reconnect("asker");
    assert!(requester.link().connected().await);
    for _ in 0..2 {
        let error = at_once(call(&requester, to("get/x"))).await.unwrap_err();
        assert_eq!(error, RequestError::Rejected(reason));
    }
    assert_eq!(requester.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_larger_than_the_server_accepts_is_an_invalid_request() {
    let (network, requester, responder) = ask_and_answer(router()).await;
    network.maximum_packet_size(2000);
    let request = Request::new("get/x", vec![0; 4000]).unwrap();
    let error = at_once(call(&requester, request)).await.unwrap_err();
    let RequestError::InvalidRequest(InvalidRequest::TooLarge { size, limit }) = error else {
        panic!("{error}")
    };
    assert!(size > 4000 && limit == 2000);
    assert_eq!((responder.stats().received, requester.stats().in_flight), (0, 0));
    assert_eq!(status(&requester, to("get/x")).await, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_found_after_it_has_waited_too() {
    let network = Network::new();
    network.receive_maximum(1);
    let _responder = Responder::builder(network.link("b")).serve(router()).await.unwrap();
    let requester = Requester::builder(network.link("a")).build().await.unwrap();
    network.maximum_packet_size(2000);
    network.hold_acknowledgements(true);
    let first = start(&requester, to("get/x")).await;
    let large = start(&requester, Request::new("get/x", vec![0; 4000]).unwrap()).await;
    network.hold_acknowledgements(false);
    let error = at_once(large).await.unwrap().unwrap_err();
    assert!(
        matches!(error, RequestError::InvalidRequest(InvalidRequest::TooLarge { .. })),
        "{error}"
    );
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_responder_says_503() {
    let (entered, mut entries) = mpsc::unbounded_channel();
    let router = Router::new().route("busy", async move || {
        entered.send(()).unwrap();
        tokio::time::sleep(SECOND).await;
    });
    let network = Network::new();
    let responder = Responder::builder(network.link("b")).concurrency(2).serve(router).await;
    let responder = responder.unwrap();
    let requester = Requester::builder(network.link("a")).build().await.unwrap();
    let busy = [start(&requester, to("busy")).await, start(&requester, to("busy")).await];
    entries.recv().await.unwrap();
    entries.recv().await.unwrap();
    assert_eq!(at_once(status(&requester, to("busy"))).await, 503);
    for task in busy {
        task.await.unwrap().unwrap();
    }
    assert_eq!(status(&requester, to("busy")).await, 204, "there is room again");
    assert_eq!(responder.stats().overloaded, 1);
}

/// What comes of a request that is changed on the wire, as its caller sees it, and in the counters
/// of the responder: malformed and forbidden.
async fn altered(request: fn(&mut Message)) -> (Result<u16, RequestError>, u64, u64) {
    let network = Network::new();
    let responder = Responder::builder(network.link("answerer")).serve(router()).await.unwrap();
    let requester = Requester::builder(network.link("asker")).dialect(Altered::request(request));
    let requester = requester.build().await.unwrap();
    let outcome = call(&requester, to("get/x").timeout(SECOND)).await;
    let stats = responder.stats();
    assert_eq!(stats.received, 0, "the handler has not run");
    (outcome.map(|response| response.status().code()), stats.malformed, stats.forbidden)
}

#[tokio::test(start_paused = true)]
async fn what_is_not_a_request_is_refused_where_there_is_a_way_and_else_dropped_and_counted() {
    assert_eq!(altered(|message| message.retain = true).await, (Ok(400), 1, 0));
    let bad_timeout = |message: &mut Message| {
        message.properties.user.remove("timeout-ms");
        message.properties.user.push("timeout-ms", "-1");
    };
    assert_eq!(altered(bad_timeout).await, (Ok(400), 1, 0));

    let dropped = (Err(RequestError::Timeout), 1, 0);
    assert_eq!(altered(|m| m.properties.response_topic = None).await, dropped);
}

#[tokio::test(start_paused = true)]
async fn response_topics_that_loop_or_belong_to_the_server_are_dropped_and_counted() {
    let forbidden = (Err(RequestError::Timeout), 0, 1);
    assert_eq!(altered(|m| m.properties.response_topic = Some(topic("get/y"))).await, forbidden);
    assert_eq!(altered(|m| m.properties.response_topic = Some(topic("log/a/b"))).await, forbidden);
    assert_eq!(altered(|m| m.properties.response_topic = Some(topic("$SYS/x"))).await, forbidden);
    // What is malformed as well is not answered there either.
    let both = |m: &mut Message| {
        m.retain = true;
        m.properties.response_topic = Some(topic("get/y"));
    };
    assert_eq!(altered(both).await, (Err(RequestError::Timeout), 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_policy_bounds_where_answers_go() {
    let network = Network::new();
    let builder =
        Responder::builder(network.link("answerer")).allow_response_topic(|topic, parts| {
            let caller = parts.user_properties.get("caller").unwrap_or("nobody");
            topic.as_str() == format!("clients/{caller}/responses")
        });
    let responder = builder.serve(router()).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    let signed =
        |caller: &str| to("get/x").timeout(SECOND).with_user_property("caller", caller.to_owned());
    assert_eq!(status(&requester, signed("asker")).await, 200);
    let other = call(&requester, signed("victim")).await.unwrap_err();
    assert_eq!((other, responder.stats().forbidden), (RequestError::Timeout, 1));

    // The policy cannot be asked about what is not a request, so it is not answered.
    let retained = Altered::request(|message| message.retain = true);
    let link = requester.link().clone();
    let retained = Requester::builder(link).dialect(retained).build().await.unwrap();
    let dropped = call(&retained, signed("asker")).await.unwrap_err();
    assert_eq!((dropped, responder.stats().malformed), (RequestError::Timeout, 1));
    assert_eq!(responder.stats().answered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_correlation_data_is_answered_without() {
    let network = Network::new();
    let _responder = Responder::builder(network.link("answerer")).serve(router()).await.unwrap();
    let (seen, mut answers) = mpsc::unbounded_channel();
    let listener = Router::new().route("my/answers", async |_: Request| ());
    let _listener = Responder::builder(network.link("listener")).serve(listener).await.unwrap();
    network.on_message(move |message| {
        if message.topic.as_str() == "my/answers" {
            seen.send(message.clone()).unwrap();
        }
        tower_mqtt::link::memory::Fate::Deliver
    });
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let mut message = Message::new(topic("get/x"), "");
        message.qos = qos;
        message.properties.response_topic = Some(topic("my/answers"));
        publish(&network, message).await;
        let answer = answers.recv().await.unwrap();
        assert_eq!(answer.payload, "x");
        assert_eq!(answer.properties.correlation_data, None);
        assert_eq!((answer.qos, answer.retain), (qos, false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_name_needs_a_dialect_that_answers_elsewhere() {
    let network = Network::new();
    let shared = Responder::builder(network.link("a")).share("kitchen");
    let error = shared.clone().dialect(EchoTopic).serve(router()).await.unwrap_err();
    assert!(error.to_string().contains("kitchen"), "{error}");
    assert!(matches!(error, ServeError::Configuration(_)));
    let _served = shared.dialect(Native::new()).serve(router()).await.unwrap();
    let error = Responder::builder(network.link("b")).share("a/b").serve(router()).await;
    assert!(matches!(error.unwrap_err(), ServeError::Configuration(_)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_large_for_the_server_becomes_a_500() {
    let network = Network::new();
    network.maximum_packet_size(2000);
    let router = Router::new().route("big", async || vec![b'x'; 3000]);
    let responder = Responder::builder(network.link("answerer")).serve(router).await.unwrap();
    let requester = Requester::builder(network.link("asker")).build().await.unwrap();
    let response = call(&requester, to("big")).await.unwrap();
    assert_eq!(response.status().code(), 500);
    assert_eq!(response.status().message(), Some("the answer is too large for the server"));
    assert_eq!(responder.stats().answered, 1);
}
