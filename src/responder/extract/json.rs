//! JSON payloads.

use std::ops::{Deref, DerefMut};

use serde::de::DeserializeOwned;

use super::{FromRequest, OptionalFromRequest};
use crate::message::{DecodeError, Request};
use crate::responder::rejection::JsonRejection;

/// The payload, read from JSON; as a return value, an answer written as JSON.
///
/// A request that says nothing about its content is read as JSON too: plain clients say nothing.
/// One that says it is something else is refused with 415. `Option<Json<T>>` is `None` when the
/// payload is empty.
///
/// ```
/// use tower_mqtt::responder::extract::Json;
///
/// #[derive(serde::Deserialize, serde::Serialize)]
/// struct Portions {
///     dish: String,
///     grams: f64,
/// }
///
/// async fn double(Json(mut portions): Json<Portions>) -> Json<Portions> {
///     portions.grams *= 2.0;
///     Json(portions)
/// }
/// # let _: tower_mqtt::Router = tower_mqtt::Router::new().route("double", double);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = JsonRejection;

    async fn from_request(request: Request, _: &S) -> Result<Self, JsonRejection> {
        read(&request)
    }
}

impl<S: Sync, T: DeserializeOwned> OptionalFromRequest<S> for Json<T> {
    type Rejection = JsonRejection;

    async fn from_request(request: Request, _: &S) -> Result<Option<Self>, JsonRejection> {
        if request.payload().is_empty() { Ok(None) } else { read(&request).map(Some) }
    }
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<Json<T>, JsonRejection> {
    if !request.parts().content_type.as_deref().is_none_or(is_json) {
        return Err(JsonRejection::ContentType);
    }
    let value = serde_json::from_slice(request.payload());
    value.map(Json).map_err(|error| DecodeError::new(&error).into())
}

/// `application/json`, or a type with the suffix `+json` (RFC 6839 §3.1), whatever the parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Json<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Status;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Query {
        name: String,
    }

    fn request(payload: &'static str) -> Request {
        Request::new("recipes/soup/get", payload).unwrap()
    }

    async fn extract<T: FromRequest<()>>(request: Request) -> Result<T, T::Rejection> {
        T::from_request(request, &()).await
    }

    #[tokio::test]
    async fn json_is_read_unless_the_request_says_that_it_is_something_else() {
        let payload = r#"{"name":"miso"}"#;
        let plain = extract::<Json<Query>>(request(payload)).await.unwrap();
        assert_eq!(plain.name, "miso");
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/x+json"] {
            assert!(extract::<Json<Query>>(request(payload).with_content_type(json)).await.is_ok());
        }
        for other in ["text/plain", "application/jsonp", "json", ""] {
            let rejection = extract::<Json<Query>>(request(payload).with_content_type(other)).await;
            assert_eq!(rejection.unwrap_err(), JsonRejection::ContentType, "{other}");
        }
        assert_eq!(Status::from(JsonRejection::ContentType).code(), 415);
    }

    #[tokio::test]
    async fn what_is_wrong_is_located_and_not_quoted() {
        for (payload, message) in [
            ("", "not JSON: line 1 column 0"),
            ("{\n secret", "not JSON: line 2 column 2"),
            (r#"{"name":"secret""#, "not JSON: line 1 column 16"),
            (r#"{"name":["secret"]}"#, "JSON of an unexpected shape: line 1 column 8"),
            (r#""secret""#, "JSON of an unexpected shape: line 1 column 8"),
        ] {
            let rejection = extract::<Json<Query>>(request(payload)).await.unwrap_err();
            let status = Status::from(rejection);
            assert_eq!((status.code(), status.message()), (400, Some(message)), "{payload}");
        }
    }

    #[tokio::test]
    async fn an_optional_one_may_be_empty_but_not_wrong() {
        assert!(extract::<Option<Json<Query>>>(request("")).await.unwrap().is_none());
        let some = extract::<Option<Json<Query>>>(request(r#"{"name":"miso"}"#)).await.unwrap();
        assert_eq!(some.unwrap().0, Query { name: "miso".into() });
        assert!(extract::<Option<Json<Query>>>(request("{")).await.is_err());
    }
}
