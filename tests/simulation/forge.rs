//! Somebody on the network who has seen what passed, and writes messages of its own.

use std::time::Duration;

use bytes::Bytes;
use tower::ServiceExt;
use tower_mqtt::Requester;
use tower_mqtt::core::topic::TopicName;
use tower_mqtt::dialect::Message;
use tower_mqtt::link::memory::Network;

use crate::plan::Forgery;
use crate::record::{FORGED, Record, answer, question};
use crate::verbatim::{Verbatim, carrying};

/// The number of a call that nobody makes.
pub const NOBODYS: usize = 999_999;

/// Publishes messages as they are.
pub struct Forger(Requester);

impl Forger {
    pub async fn new(network: &Network) -> Self {
        let builder = Requester::builder(network.link("forger")).dialect(Verbatim);
        Self(builder.build().await.expect("a network without faults"))
    }

    pub async fn forge(&self, record: &Record, call: usize, how: Forgery) {
        let Some(mut message) = forged(record, call, how) else { return };
        record.trace(format_args!("{how:?} of call {call}"));
        message.properties.user.push(FORGED, "");
        let request = carrying(message).timeout(Duration::from_millis(1));
        let _ = self.0.clone().oneshot(request).await;
    }
}

fn forged(record: &Record, call: usize, how: Forgery) -> Option<Message> {
    let speaks = record.plan.groups[record.plan.calls[call].group].speaks;
    let now = record.now();
    let (request, reply) = {
        let told = &mut record.lock().calls[call];
        told.replayed |= how == Forgery::RequestAgain;
        if how == Forgery::Malformed {
            told.misread = told.misread.or(Some(now));
        }
        (told.last_request.clone(), told.last_answer.clone())
    };
    match how {
        Forgery::AnswerAgain => reply,
        Forgery::RequestAgain => request,
        Forgery::NoRequest => {
            let mut message = request?;
            message.payload = Bytes::from(question(NOBODYS));
            give_other_id(&mut message);
            match call % 3 {
                0 => message.properties.response_topic = None,
                1 => message.properties.response_topic = Some(message.topic.clone()),
                _ => message.retain = true,
            }
            Some(message)
        }
        Forgery::Malformed => {
            let mut message = reply.or_else(|| answer_to(&request?))?;
            if speaks.is_native() {
                message.properties.user.remove("status");
                message.properties.user.push("status", "many");
            } else if message.payload.starts_with(b"{\"id\"") {
                message.payload = Bytes::from_static(b"{\"id\":");
            } else {
                return None;
            }
            Some(message)
        }
        Forgery::UnknownId => {
            let mut message = reply.or_else(|| answer_to(&request?))?;
            give_other_id(&mut message);
            message.payload = foreign(&message.payload)?;
            Some(message)
        }
        Forgery::WrongTopic => {
            let mut message = reply.or_else(|| answer_to(&request?))?;
            let topic = message.topic.as_str();
            message.topic = if message.properties.correlation_data.is_some() {
                let place = if topic.contains("r0-0") { "r1-0" } else { "r0-0" };
                TopicName::new(format!("clients/{place}/responses")).ok()?
            } else {
                let device =
                    ["d0", "d1", "d2"].into_iter().find(|device| topic.contains(device))?;
                let other = if device == "d0" { "d1" } else { "d0" };
                TopicName::new(topic.replace(device, other)).ok()?
            };
            message.payload = foreign(&message.payload)?;
            Some(message)
        }
    }
}

/// An answer, made before the real one.
fn answer_to(request: &Message) -> Option<Message> {
    let properties = &request.properties;
    let topic = match &properties.response_topic {
        Some(topic) => topic.clone(),
        None => TopicName::new(
            request
                .topic
                .as_str()
                .replace("/ask/", "/tell/")
                .replace("rrpc/request", "rrpc/response")
                .replace("$rrpc/rxd", "$rrpc/txd"),
        )
        .ok()?,
    };
    let mut message = Message::new(topic, answer(NOBODYS));
    message.properties.correlation_data.clone_from(&properties.correlation_data);
    Some(message)
}

/// The payload of an answer, of which everybody sees that it is another's.
fn foreign(payload: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(payload).ok()?;
    let at = text.find("\"data\":");
    // An Alink id decides before the topic does: it is the topic's here.
    Some(match at {
        Some(_) => format!("{{\"code\":200,\"data\":{}}}", answer(NOBODYS)).into(),
        None => answer(NOBODYS).into(),
    })
}

fn give_other_id(message: &mut Message) {
    if let Some(id) = &message.properties.correlation_data {
        let other = id.iter().rev().map(|byte| byte ^ 1).collect::<Vec<_>>();
        message.properties.correlation_data = Some(other.into());
    } else {
        message.topic = with_id(&message.topic, "9");
    }
}

fn with_id(topic: &TopicName, id: &str) -> TopicName {
    let levels: Vec<&str> = topic.as_str().split('/').collect();
    let at = if topic.as_str().starts_with("/ext/rrpc/") { 3 } else { levels.len() - 1 };
    let levels: Vec<&str> =
        levels.iter().enumerate().map(|(n, level)| if n == at { id } else { level }).collect();
    TopicName::new(levels.join("/")).expect("levels of a topic")
}
