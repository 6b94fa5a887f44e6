//! The two objects of Alink JSON that a synchronous service consists of.

use std::str;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::json;
use crate::message::{Response, Status};

/// What the method of a service begins with.
const METHOD: &str = "thing.service.";
/// What params and data are when nobody says.
const NOTHING: &str = "{}";

/// A request or an answer. Every value is JSON, and read when it is needed.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "json::present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    code: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    message: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        json::object(payload)
    }

    /// Where both have the same topic, this tells them apart.
    pub(super) fn is_request(&self) -> bool {
        self.method.is_some()
    }

    pub(super) fn is_answer(&self) -> bool {
        self.code.is_some() && !self.is_request()
    }

    /// The id as it came: text, or a whole number.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn id(&self) -> Result<Option<&'a RawValue>, &'static str> {
        match self.id {
            Some(id) if plain(id).is_none() => Err("the id is neither text nor a whole number"),
            id => Ok(id),
        }
    }

    /// The id without its quotes.
    pub(super) fn plain_id(&self) -> Option<String> {
        plain(self.id?)
    }

    /// The service that the method names.
    pub(super) fn service(&self) -> Option<String> {
        let method = json::text(self.method?)?;
        Some(method.strip_prefix(METHOD)?.to_owned())
    }

    /// What the service is given: a part of `payload`, from which this was read.
    pub(super) fn params(&self, payload: &Bytes) -> Bytes {
        part(self.params, payload)
    }

    /// An answer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn response(&self, payload: &Bytes) -> Result<Response, &'static str> {
        self.id()?;
        Ok(Response::new(part(self.data, payload)).with_status(self.status()?))
    }

    fn status(&self) -> Result<Status, &'static str> {
        let code: i64 = match self.code {
            Some(code) => code.get().parse().map_err(|_| "the code is not a whole number")?,
            None => return Err("there is no code"),
        };
        let message = self.message.and_then(json::text);
        Ok(match (u16::try_from(code), message) {
            (Ok(code @ 100..), None) => Status::new(code),
            (Ok(code @ 100..), Some(message)) => Status::new(code).with_message(message),
            (_, None) => Status::INTERNAL.with_message(format!("code {code}")),
            (_, Some(message)) => Status::INTERNAL.with_message(format!("code {code}: {message}")),
        })
    }
}

fn plain(id: &RawValue) -> Option<String> {
    let digits = id.get().bytes().all(|byte| byte.is_ascii_digit());
    if digits { Some(id.get().to_owned()) } else { json::text(id) }
}

fn part(value: Option<&RawValue>, payload: &Bytes) -> Bytes {
    match value {
        Some(value) => payload.slice_ref(value.get().as_bytes()),
        None => Bytes::from_static(NOTHING.as_bytes()),
    }
}

/// A request, or `None` when `params` are not JSON.
pub(super) fn request(id: &str, service: &str, params: &[u8]) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Request<'a> {
        method: String,
        id: &'a str,
        params: &'a RawValue,
        version: &'static str,
    }

    let params = if params.is_empty() { NOTHING.as_bytes() } else { params };
    let params = serde_json::from_str(str::from_utf8(params).ok()?).ok()?;
    let method = format!("{METHOD}{service}");
    Some(json::write(&Request { method, id, params, version: "1.0.0" }))
}

/// An answer. Text that is not JSON becomes a JSON string; what is not text cannot be said.
pub(super) fn answer(id: &RawValue, response: &Response) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a> {
        id: &'a RawValue,
        code: u16,
        data: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
    }

    let status = response.status();
    let (text, code, message) = match str::from_utf8(response.payload()) {
        Ok("") => (NOTHING, status.code(), status.message()),
        Ok(text) => (text, status.code(), status.message()),
        Err(_) => (NOTHING, Status::INTERNAL.code(), Some("the answer is not text")),
    };
    let quoted;
    let data = if let Ok(data) = serde_json::from_str(text) {
        data
    } else {
        quoted = json::quoted(text);
        &*quoted
    };
    json::write(&Answer { id, code, data, message })
}
