//! What a handler may return.

use std::borrow::Cow;
use std::convert::Infallible;

use bytes::Bytes;

#[cfg(feature = "json")]
use super::extract::Json;
use crate::error::RequestError;
use crate::message::{Response, Status};

const TEXT: &str = "text/plain; charset=utf-8";

/// What can be made into an answer: everything that a [`Handler`](super::Handler) may return.
///
/// | type | answer |
/// |---|---|
/// | [`Response`] | itself |
/// | [`Status`] | that status, no payload |
/// | [`RequestError`](crate::RequestError) of a call that the handler made | 502; 500 or the refusal's status where it says more |
/// | `()` | 204, no payload |
/// | `&'static str`, `String`, `Cow<'static, str>` | 200, the text, `text/plain; charset=utf-8` |
/// | [`Bytes`], `Vec<u8>` | 200, the bytes, no content type |
/// | [`Json<T>`](super::extract::Json) | 200, the value as JSON, `application/json` |
/// | `Result<T, E>` | the answer of the one that it is |
/// | `Option<T>` | the answer of `T`; `None`: 404 |
/// | `(Status, T)` | the answer of `T` with this status |
///
/// ```
/// use tower_mqtt::{Response, Status, responder::IntoResponse};
///
/// struct OutOfStock(&'static str);
///
/// impl IntoResponse for OutOfStock {
///     fn into_response(self) -> Response {
///         let status = Status::CONFLICT.with_message(format!("no {} left", self.0));
///         status.into_response()
///     }
/// }
///
/// let answer = Err::<(), _>(OutOfStock("miso")).into_response();
/// assert_eq!(answer.status().to_string(), "409 conflict: no miso left");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made into an answer",
    label = "does not implement `IntoResponse`",
    note = "handlers return text, bytes, `Json<T>`, `Status`, `Response`, `()`, or a `Result` or \
            `Option` of such; for a type of your own implement `IntoResponse`"
)]
pub trait IntoResponse {
    /// Makes the answer.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        Status::from(self).into_response()
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        Response::error(self)
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        Status::NO_CONTENT.into_response()
    }
}

impl IntoResponse for Infallible {
    fn into_response(self) -> Response {
        match self {}
    }
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        Response::new(self).with_content_type(TEXT)
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        Response::new(self).with_content_type(TEXT)
    }
}

impl IntoResponse for Cow<'static, str> {
    fn into_response(self) -> Response {
        match self {
            Cow::Borrowed(text) => text.into_response(),
            Cow::Owned(text) => text.into_response(),
        }
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

/// A value that has no JSON form is answered with 500.
#[cfg(feature = "json")]
impl<T: serde::Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        Response::json_from(&self.0)
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        self.map_or_else(E::into_response, T::into_response)
    }
}

impl<T: IntoResponse> IntoResponse for Option<T> {
    fn into_response(self) -> Response {
        self.map_or_else(|| Status::NOT_FOUND.into_response(), T::into_response)
    }
}

impl<T: IntoResponse> IntoResponse for (Status, T) {
    fn into_response(self) -> Response {
        self.1.into_response().with_status(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(value: impl IntoResponse) -> (u16, Bytes, Option<String>) {
        let response = value.into_response();
        let content_type = response.content_type().map(str::to_owned);
        (response.status().code(), response.into_payload(), content_type)
    }

    fn plain(status: u16, payload: &'static str) -> (u16, Bytes, Option<String>) {
        (status, payload.into(), None)
    }

    #[test]
    fn a_status_and_nothing_have_no_payload() {
        assert_eq!(answer(()), plain(204, ""));
        assert_eq!(answer(Status::FORBIDDEN), plain(403, ""));
        assert_eq!(answer(Response::new("kept")), plain(200, "kept"));
    }

    #[test]
    fn text_says_that_it_is_text_and_bytes_say_nothing() {
        let text = (200, Bytes::from("soup"), Some(TEXT.to_owned()));
        assert_eq!(answer("soup"), text);
        assert_eq!(answer("soup".to_owned()), text);
        assert_eq!(answer(Cow::Borrowed("soup")), text);
        assert_eq!(answer(Cow::<'static, str>::Owned("soup".to_owned())), text);
        assert_eq!(answer(Bytes::from("soup")), plain(200, "soup"));
        assert_eq!(answer(b"soup".to_vec()), plain(200, "soup"));
    }

    #[test]
    fn results_options_and_pairs_pass_on_what_they_hold() {
        let ok: Result<Bytes, Status> = Ok("yes".into());
        assert_eq!(answer(ok), plain(200, "yes"));
        assert_eq!(answer(Err::<(), _>(Status::CONFLICT)), plain(409, ""));
        assert_eq!(answer(Ok::<_, Infallible>(())), plain(204, ""));
        assert_eq!(answer(Some(Bytes::from("x"))), plain(200, "x"));
        assert_eq!(answer(None::<()>), plain(404, ""));
        assert_eq!(answer((Status::new(201), Bytes::from("x"))), plain(201, "x"));
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_says_that_it_is_json_and_what_has_no_json_form_is_a_failure() {
        let json = (200, Bytes::from("[1,2]"), Some("application/json".to_owned()));
        assert_eq!(answer(Json([1, 2])), json);
        let no_json = std::collections::HashMap::from([((1, 2), 3)]);
        assert_eq!(answer(Json(no_json)).0, 500);
    }
}
