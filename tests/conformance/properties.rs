//! What holds for every dialect, whatever is said.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tower_mqtt::core::topic::TopicName;
use tower_mqtt::dialect::{Dialect, Message, OutgoingRequest};
use tower_mqtt::message::Status;
use tower_mqtt::{Request, Response};

use crate::spoken::{NAMES, called};
use crate::support::topic;

const LEVEL: &str = "[^/+#$\\p{Cc}]{1,6}";

fn levels(name: &str) -> std::ops::RangeInclusive<usize> {
    match name {
        "azure-direct-methods" | "huawei-commands" => 1..=1,
        "aliyun-system" | "tencent" | "tencent-explorer" => 2..=2,
        "aliyun-service" | "aliyun-service over system topics" => 3..=3,
        "aliyun-custom" => 3..=6,
        _ => 1..=5,
    }
}

/// Objects of text, numbers and lists, with what JSON must escape.
fn json() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            object(inner).prop_map(Into::into),
        ]
    });
    object(value).prop_map(|object| serde_json::to_vec(&object).unwrap().into())
}

fn object(
    value: impl Strategy<Value = serde_json::Value>,
) -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
    let members = prop::collection::vec((any::<String>(), value), 0..4);
    members.prop_map(|members| members.into_iter().collect())
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Into::into)
}

/// A dialect, and an address, a question, an answer and an id that it carries.
fn call() -> impl Strategy<Value = (&'static str, String, Bytes, Bytes, Bytes)> {
    prop::sample::select(&NAMES[..]).prop_flat_map(|name| {
        let address = prop::collection::vec(LEVEL, levels(name));
        let question = if asks_json(name) { json().boxed() } else { bytes().boxed() };
        let answer = if answers_json(name) { json().boxed() } else { bytes().boxed() };
        let id = LEVEL.prop_map(Bytes::from);
        (Just(name), address.prop_map(|levels| levels.join("/")), question, answer, id)
    })
}

fn asks_json(name: &str) -> bool {
    answers_json(name) || name == "tencent-client-token"
}

fn answers_json(name: &str) -> bool {
    name.starts_with("aliyun-service")
}

fn json_of(payload: &[u8]) -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_slice(payload).unwrap()
}

/// What wire topics are made of.
const PARTS: [&str; 21] = [
    "/sys/",
    "/ext/rrpc/",
    "pk",
    "dn",
    "/",
    "//",
    "1",
    "rrpc/request/",
    "rrpc/response/",
    "thing/service/",
    "$rrpc/rxd/",
    "$rrpc/txd/",
    "$iotrrpc/up/",
    "$iothub/methods/POST/",
    "$iothub/methods/res/",
    "?$rid=",
    "$oc/devices/",
    "/sys/commands/",
    "request_id=",
    "200",
    "é",
];

/// What envelopes are made of.
const WORDS: [&str; 22] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"id\":",
    "\"code\":",
    "\"method\":",
    "\"params\":",
    "\"data\":",
    "\"clientToken\":",
    "\"payload\":",
    "\"thing.service.get\"",
    "\"rrpc_sync_reply\"",
    "\"b2s=\"",
    "200",
    "-1e9",
    "null",
    "\\u00",
    "\u{feff}",
];

fn payload() -> impl Strategy<Value = Bytes> {
    let words = prop::collection::vec(prop::sample::select(&WORDS[..]), 0..12);
    prop_oneof![bytes(), json(), words.prop_map(|words| words.concat().into())]
}

fn ask(dialect: &dyn Dialect, address: &str, question: &Bytes, id: &Bytes) -> Message {
    let request = Request::new(address, question.clone()).unwrap();
    let (response_topic, left) = (topic("answers"), Duration::from_secs(3));
    dialect
        .encode_request(OutgoingRequest { request, id, response_topic: &response_topic, left })
        .unwrap()
}

proptest! {
    #[test]
    fn a_call_survives_the_wire((name, address, question, answer, id) in call(), code in 100..600u16) {
        let dialect = &*called(name).dialect;
        let message = ask(dialect, &address, &question, &id);
        prop_assert_eq!(dialect.response_key(&message, &topic("answers")), None, "its own request");

        let incoming = dialect.decode_request(message).unwrap();
        prop_assert_eq!(incoming.request.topic().as_str(), &address);
        prop_assert_eq!(incoming.request.parts().correlation_data.as_ref(), Some(&id));
        prop_assert_eq!(incoming.left, Some(Duration::from_secs(3)));
        if name == "tencent-client-token" {
            let mut asked = json_of(&question);
            asked.insert("clientToken".into(), std::str::from_utf8(&id).unwrap().into());
            prop_assert_eq!(json_of(incoming.request.payload()), asked);
        } else {
            prop_assert_eq!(incoming.request.payload(), &question);
        }

        let status = if dialect.carries().status { Status::new(code) } else { Status::OK };
        let response = Response::new(answer.clone()).with_status(status.clone());
        let message = dialect.encode_response(&incoming.reply_to, response, incoming.left).unwrap();
        let asked = Request::new(&address, "").unwrap();
        let key = dialect.request_key(&asked, &id).unwrap();
        prop_assert_eq!(dialect.response_key(&message, &topic("answers")), Some(key));
        let response = dialect.decode_response(message).unwrap();
        prop_assert_eq!((response.payload(), response.status()), (&answer, &status));
    }

    #[test]
    fn whatever_comes_is_read_or_refused(
        name in prop::sample::select(&NAMES[..]),
        parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 1..8),
        payload in payload(),
        answer in bytes(),
    ) {
        let dialect = &*called(name).dialect;
        let message = Message::new(TopicName::new(parts.concat()).unwrap(), payload);
        let _ = dialect.addressee(&message.topic);
        let _ = dialect.response_key(&message, &topic("answers"));
        let _ = dialect.decode_response(message.clone());
        if let Ok(incoming) = dialect.decode_request(message) {
            let _ = dialect.encode_response(&incoming.reply_to, Response::new(answer), incoming.left);
        }
    }
}
