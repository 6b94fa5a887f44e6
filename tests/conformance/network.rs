//! Rows against a requester and a responder, while somebody else plays the other side.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use tower::service_fn;
use tower_mqtt::bridge::Bridge;
use tower_mqtt::dialect::Message;
use tower_mqtt::link::memory::{Fate, Network};
use tower_mqtt::{Request, RequestError, Requester, Responder, Response, Router};

use crate::codec::{assert_asked, assert_said, question};
use crate::spoken::{Spoken, called};
use crate::support::{filter, publish, settle, start, topic};
use crate::table::{Asks, Gets, Said, Serves, Wire, Without};

/// Everything that is published from now on, in order.
fn watch(network: &Network) -> Arc<Mutex<Vec<Message>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let messages = Arc::clone(&seen);
    network.on_message(move |message| {
        messages.lock().unwrap().push(message.clone());
        Fate::Deliver
    });
    seen
}

/// Somebody who hears everything and says nothing: the network shows only what somebody hears.
async fn silent(network: &Network) -> Responder {
    let never = service_fn(|_| std::future::pending::<Result<Response, Infallible>>());
    let everything = ["#", "$rrpc/#", "$iotrrpc/#", "$iothub/#", "$oc/#"].map(filter);
    let responder = Responder::builder(network.link("silent")).allow_response_topic(|_, _| false);
    responder.serve_service(everything, never).await.unwrap()
}

pub(crate) async fn asks(spoken: &Spoken, row: &Asks) {
    let shows = &row.shows;
    let network = Network::new();
    let seen = watch(&network);
    let builder = (spoken.asking)(Requester::builder(network.link("asker")));
    let requester = builder.build().await.unwrap();
    let device = silent(&network).await;
    let call = start(&requester, question(&row.ask)).await;
    if let Some(refused) = &row.refused {
        let error = call.await.unwrap().unwrap_err();
        assert!(
            matches!(&error, RequestError::InvalidRequest(why) if why.to_string() == *refused),
            "{shows}: {error}"
        );
        assert!(seen.lock().unwrap().is_empty(), "{shows}");
        return;
    }
    let sends = row.sends.as_ref().unwrap().message();
    assert_eq!(*seen.lock().unwrap(), [sends], "{shows}");
    if let Some(answer) = &row.answer {
        publish(&network, answer.message()).await;
    }
    let outcome = call.await.unwrap();
    match &row.gets {
        Some(Gets::Said(said)) => assert_said(&outcome.unwrap(), said, shows),
        gets => {
            assert_eq!(outcome.unwrap_err(), RequestError::Timeout, "{shows}");
            let unread = matches!(gets, Some(Gets::Without(Without::Malformed)));
            assert_eq!(requester.stats().malformed, u64::from(unread), "{shows}");
        }
    }
    drop(device);
}

pub(crate) async fn serves(spoken: &Spoken, route: &str, row: &Serves) {
    let shows = &row.shows;
    let network = Network::new();
    let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
    let response = row.returns.as_ref().map(Said::response).unwrap_or_default();
    let handler = {
        let asked = Arc::clone(&asked);
        service_fn(move |request| {
            asked.lock().unwrap().push(request);
            let response = response.clone();
            async { Ok::<_, Infallible>(response) }
        })
    };
    let builder = (spoken.answering)(Responder::builder(network.link("device")));
    let responder = builder.serve_service([filter(route)], handler).await.unwrap();
    let seen = watch(&network);
    let server = silent(&network).await;
    let request = row.receives.message();
    publish(&network, request.clone()).await;
    settle().await;

    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), usize::from(row.handler.is_some()), "{shows}");
    for (request, expected) in asked.iter().zip(&row.handler) {
        assert_asked(request, expected, shows);
    }
    let answers = row.answers.as_ref().map(Wire::message);
    assert_eq!(seen.lock().unwrap()[1..], *answers.as_slice(), "{shows}");
    let subscriptions = spoken.dialect.request_subscriptions(&filter(route));
    let came = subscriptions.iter().any(|s| s.filter.matches(&request.topic));
    let malformed = row.malformed.is_some() && came;
    assert_eq!(responder.stats().malformed, u64::from(malformed), "{shows}");
    drop(server);
}

/// The same as [`serves`], with a bridge in the device's place, which asks a native one elsewhere.
pub(crate) async fn crosses(spoken: &Spoken, route: &str, row: &Serves) {
    let shows = &row.shows;
    let (network, elsewhere) = (Network::new(), Network::new());
    let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
    let response = row.returns.as_ref().map(Said::response).unwrap_or_default();
    let heard = Arc::clone(&asked);
    let handler = async move |request: Request| {
        heard.lock().unwrap().push(request);
        response
    };
    let router = Router::new().route("there/{rest*}", handler);
    let _device = Responder::builder(elsewhere.link("device")).serve(router).await.unwrap();

    let requester = Requester::builder(elsewhere.link("bridge")).build().await.unwrap();
    let from = template_of(route);
    let bridge = Bridge::new(requester).route(&from, &format!("there/{from}")).unwrap();
    let front = (spoken.answering)(Responder::builder(network.link("device")));
    let bridge = bridge.serve(front).await.unwrap();
    let seen = watch(&network);
    let server = silent(&network).await;
    publish(&network, row.receives.message()).await;
    settle().await;

    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), usize::from(row.handler.is_some()), "{shows}");
    for (request, expected) in asked.iter().zip(&row.handler) {
        assert_eq!(request.topic(), &topic(&format!("there/{}", expected.topic)), "{shows}");
        assert_eq!(*request.payload(), expected.payload.bytes(), "{shows}");
    }
    let answers = row.answers.as_ref().map(Wire::message);
    assert_eq!(seen.lock().unwrap()[1..], *answers.as_slice(), "{shows}");
    assert_eq!(bridge.stats().in_flight, 0, "{shows}");
    drop(server);
}

/// A template for the topics that a filter matches.
fn template_of(filter: &str) -> String {
    let levels = filter.split('/').enumerate().map(|(number, level)| match level {
        "+" => format!("{{level{number}}}"),
        "#" => "{rest*}".to_owned(),
        text => text.to_owned(),
    });
    levels.collect::<Vec<_>>().join("/")
}

/// As the vendor's SDK for Node does when its program takes its time.
#[tokio::test(start_paused = true)]
async fn overlapping_calls_of_a_service_are_told_apart_on_the_topic_of_the_last_one() {
    let network = Network::new();
    let _device = silent(&network).await;
    let spoken = called("aliyun-service over system topics");
    let builder = (spoken.asking)(Requester::builder(network.link("asker")));
    let requester = builder.build().await.unwrap();
    let ask = |id: &'static str| {
        let request = Request::new("pk/dn/get", "").unwrap();
        start(&requester, request.correlation_data(id))
    };
    let calls = [ask("1").await, ask("2").await];
    for id in ["1", "2"] {
        let answer = format!(r#"{{"id":"{id}","code":200,"data":"for {id}"}}"#);
        publish(&network, Message::new(topic("/sys/pk/dn/rrpc/response/2"), answer)).await;
    }
    for (call, expected) in calls.into_iter().zip([r#""for 1""#, r#""for 2""#]) {
        assert_eq!(call.await.unwrap().unwrap().payload(), expected);
    }
}
