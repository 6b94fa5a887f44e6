//! Answers as they are remembered.

use bytes::Bytes;

use crate::core::packet::{Text, UserProperties};
use crate::message::{Response, Status};

/// An answer as it is sent, sharing no memory with anything: neither with the buffer that its payload
/// may be a slice of, nor with the extensions. Small, as there may be very many.
#[derive(Clone)]
pub(super) struct Answer {
    payload: Bytes,
    code: u16,
    more: Option<Box<More>>,
}

/// What most answers have nothing of.
#[derive(Clone)]
struct More {
    message: Option<String>,
    content_type: Option<String>,
    user_properties: UserProperties,
}

impl Answer {
    pub(super) fn of(response: &Response) -> Self {
        let status = response.status();
        let more = More {
            message: status.message().map(str::to_owned),
            content_type: response.content_type().map(str::to_owned),
            user_properties: response.user_properties().clone(),
        };
        let is_plain = more.message.is_none()
            && more.content_type.is_none()
            && more.user_properties.is_empty();
        Self {
            payload: Bytes::copy_from_slice(response.payload()),
            code: status.code(),
            more: (!is_plain).then(|| Box::new(more)),
        }
    }

    pub(super) fn into_response(self) -> Response {
        let Self { payload, code, more } = self;
        let response = Response::new(payload);
        let Some(more) = more else { return response.with_status(code) };
        let More { message, content_type, user_properties } = *more;
        let status = Status::from(code);
        let status = match message {
            Some(message) => status.with_message(message),
            None => status,
        };
        let mut response = response.with_status(status);
        if let Some(content_type) = content_type {
            response = response.with_content_type(content_type);
        }
        *response.user_properties_mut() = user_properties;
        response
    }
}

/// Bytes of what an answer says.
pub(super) fn size(response: &Response) -> usize {
    let pair = |(name, value): (&str, &str)| name.len() + value.len() + size_of::<[Text; 2]>();
    response.payload().len()
        + response.content_type().map_or(0, str::len)
        + response.status().message().map_or(0, str::len)
        + response.user_properties().iter().map(pair).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_repeated_as_it_was() {
        let plain = Response::new("miso").with_status(201);
        let status = Status::NOT_FOUND.with_message("no such dish");
        let full = plain.clone().with_status(status).with_content_type("text/plain");
        for response in [plain, full.with_user_property("a", "b")] {
            let again = Answer::of(&response).into_response();
            assert_eq!(again.status(), response.status());
            assert_eq!(again.payload(), response.payload());
            assert_eq!(again.content_type(), response.content_type());
            assert_eq!(again.user_properties(), response.user_properties());
        }
    }
}
