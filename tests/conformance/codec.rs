//! Rows against a dialect itself.

use tower_mqtt::dialect::{Dialect, OutgoingRequest, Subscription};
use tower_mqtt::{Request, Response};

use crate::support::{filter, topic};
use crate::table::{Asked, Asks, Gets, Listens, Said, Serves, Subscribes, Wire, Without};

/// Where the answers to the client `asker` go.
const ANSWERS: &str = "clients/asker/responses";

pub(crate) fn question(asked: &Asked) -> Request {
    let request = Request::new(&asked.topic, asked.payload.bytes()).unwrap();
    request.correlation_data(asked.id.bytes())
}

pub(crate) fn assert_said(response: &Response, said: &Said, shows: &str) {
    assert_eq!(response.payload(), said.response().payload(), "{shows}");
    assert_eq!(response.status(), said.response().status(), "{shows}");
}

pub(crate) fn assert_asked(request: &Request, asked: &Asked, shows: &str) {
    assert_eq!(request.topic(), &topic(&asked.topic), "{shows}");
    assert_eq!(*request.payload(), asked.payload.bytes(), "{shows}");
    assert_eq!(request.parts().correlation_data, Some(asked.id.bytes()), "{shows}");
}

pub(crate) fn asks(dialect: &dyn Dialect, row: &Asks) {
    let shows = &row.shows;
    let (answers, id) = (topic(ANSWERS), row.ask.id.bytes());
    let key = dialect.request_key(&question(&row.ask), &id);
    let sent = dialect.encode_request(OutgoingRequest {
        request: question(&row.ask),
        id: &id,
        response_topic: &answers,
        left: dialect.default_timeout(),
    });
    if let Some(refused) = &row.refused {
        assert_eq!(sent.unwrap_err().to_string(), *refused, "{shows}");
        return;
    }
    let sends = row.sends.as_ref().expect("a row with `sends` or `refused`");
    assert_eq!(sent.unwrap(), sends.message(), "{shows}");
    let Some(answer) = row.answer.as_ref().map(Wire::message) else { return };
    let found = dialect.response_key(&answer, &answers);
    let gets = row.gets.as_ref().expect("an answer is got somehow");
    let paired = !matches!(gets, Gets::Without(Without::Nothing));
    assert_eq!(found == Some(key.unwrap()), paired, "{shows}");
    match gets {
        Gets::Without(Without::Nothing) => {}
        Gets::Without(Without::Malformed) => {
            assert!(dialect.decode_response(answer).is_err(), "{shows}");
        }
        Gets::Said(said) => {
            assert_said(&dialect.decode_response(answer).unwrap(), said, shows);
        }
    }
}

pub(crate) fn serves(dialect: &dyn Dialect, row: &Serves) {
    let shows = &row.shows;
    let incoming = dialect.decode_request(row.receives.message());
    if let Some(malformed) = &row.malformed {
        assert_eq!(incoming.unwrap_err().to_string(), *malformed, "{shows}");
        return;
    }
    let incoming = incoming.unwrap();
    assert_asked(&incoming.request, row.handler.as_ref().unwrap(), shows);
    let response = row.returns.as_ref().unwrap().response();
    if !response.status().is_success() && !dialect.carries().status {
        assert!(row.answers.is_none(), "{shows}: a failure is silence");
        return;
    }
    let sent = dialect.encode_response(&incoming.reply_to, response, incoming.left);
    let answers = row.answers.as_ref().map(Wire::message);
    assert_eq!(sent.ok(), answers, "{shows}");
}

pub(crate) fn subscribes(dialect: &dyn Dialect, row: &Subscribes) {
    let subscriptions = dialect.request_subscriptions(&filter(&row.route));
    assert_subscriptions(&subscriptions, &row.filters, row.no_local, &row.shows);
}

pub(crate) fn listens(dialect: &dyn Dialect, row: &Listens) {
    let subscription = dialect.response_subscription(&topic(ANSWERS), &filter(&row.peers));
    let expected: Vec<String> = row.filter.iter().cloned().collect();
    let subscriptions: Vec<_> = subscription.into_iter().collect();
    assert_subscriptions(&subscriptions, &expected, row.no_local, &row.shows);
}

fn assert_subscriptions(all: &[Subscription], filters: &[String], no_local: bool, shows: &str) {
    let found: Vec<_> = all.iter().map(|subscription| subscription.filter.to_string()).collect();
    assert_eq!(found, filters, "{shows}");
    assert!(all.iter().all(|subscription| subscription.no_local == no_local), "{shows}");
}
