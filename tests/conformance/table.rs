//! What stands in a table.

use bytes::Bytes;
use serde::Deserialize;
use tower_mqtt::Response;
use tower_mqtt::core::packet::{Properties, Qos, UserProperties};
use tower_mqtt::dialect::Message;
use tower_mqtt::message::Status;

use crate::support::topic;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) dialect: String,
    /// What a responder answers, as a filter of addresses.
    pub(crate) route: String,
    pub(crate) rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Row {
    Asks(Asks),
    Serves(Serves),
    Subscribes(Subscribes),
    Listens(Listens),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asks {
    pub(crate) shows: String,
    pub(crate) ask: Asked,
    pub(crate) sends: Option<Wire>,
    pub(crate) refused: Option<String>,
    pub(crate) answer: Option<Wire>,
    pub(crate) gets: Option<Gets>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Serves {
    pub(crate) shows: String,
    pub(crate) receives: Wire,
    pub(crate) handler: Option<Asked>,
    pub(crate) returns: Option<Said>,
    pub(crate) malformed: Option<String>,
    /// On the wire; none where the dialect cannot say it.
    pub(crate) answers: Option<Wire>,
    /// The in-memory network does not bring it about.
    #[serde(default)]
    pub(crate) codec_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscribes {
    pub(crate) shows: String,
    pub(crate) route: String,
    #[serde(rename = "subscribes")]
    pub(crate) filters: Vec<String>,
    pub(crate) no_local: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listens {
    pub(crate) shows: String,
    pub(crate) peers: String,
    #[serde(rename = "subscribes")]
    pub(crate) filter: Option<String>,
    pub(crate) no_local: bool,
}

/// A request as a program sees it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) topic: String,
    #[serde(default)]
    pub(crate) payload: Data,
    pub(crate) id: Data,
}

/// A response as a program sees it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    #[serde(default = "ok")]
    pub(crate) status: u16,
    pub(crate) message: Option<String>,
    #[serde(default)]
    pub(crate) payload: Data,
}

fn ok() -> u16 {
    200
}

impl Said {
    pub(crate) fn response(&self) -> Response {
        let status = Status::new(self.status);
        let status = match &self.message {
            Some(message) => status.with_message(message.clone()),
            None => status,
        };
        Response::new(self.payload.bytes()).with_status(status)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Gets {
    Without(Without),
    Said(Said),
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Without {
    /// It answers another call, or none.
    Nothing,
    /// It answers this call, and cannot be read.
    Malformed,
}

/// A message. What is not said is not there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wire {
    pub(crate) topic: Data,
    #[serde(default)]
    payload: Data,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    response_topic: Option<String>,
    correlation_data: Option<Data>,
    expiry: Option<u32>,
    content_type: Option<String>,
    #[serde(default)]
    user: Vec<(String, String)>,
}

impl Wire {
    pub(crate) fn message(&self) -> Message {
        let mut message = Message::new(topic(&self.topic.text()), self.payload.bytes());
        message.qos = if self.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        message.retain = self.retain;
        message.properties = Properties {
            response_topic: self.response_topic.as_deref().map(topic),
            correlation_data: self.correlation_data.as_ref().map(Data::bytes),
            message_expiry: self.expiry,
            content_type: self.content_type.clone().map(Into::into),
            user: self.user.iter().cloned().collect::<UserProperties>(),
            ..Properties::default()
        };
        message
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Data {
    Text(String),
    Hex { hex: String },
    Times { times: usize, of: Box<Self> },
    Parts(Vec<Self>),
}

impl Default for Data {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Data {
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Text(text) => text.clone().into(),
            Self::Hex { hex } => {
                let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
                (0..hex.len()).step_by(2).map(digits).collect()
            }
            Self::Times { times, of } => of.bytes().repeat(*times).into(),
            Self::Parts(parts) => parts.iter().flat_map(Self::bytes).collect(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes().into()).expect("text")
    }
}
