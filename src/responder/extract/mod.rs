//! Extractors: what a [`Handler`](super::Handler)'s arguments may be.
//!
//! | extractor | gives | says no with |
//! |---|---|---|
//! | [`Path<T>`] | what the route's captures hold | 400 |
//! | [`State<T>`] | the router's state, or a part of it | |
//! | [`Json<T>`] | the payload, from JSON (feature `json`) | 400, 415 |
//! | [`Bytes`](bytes::Bytes) | the payload as it came | |
//! | `String` | the payload as UTF-8 text | 400 |
//! | [`Topic`] | the topic that the request was published to | |
//! | [`UserProperties`](crate::core::packet::UserProperties) | the user properties | |
//! | [`Deadline`] | when the caller stops waiting | |
//! | [`Extension<T>`] | what a layer has put into [`Parts::extensions`] | 500 |
//! | [`Caller`](crate::layer::authorize::Caller) | who asks, as an authorize layer has verified it | 401 |
//! | [`Cancellation`](crate::Cancellation) | a signal that the request is over | 500 |
//! | [`Parts`] | everything but the payload | |
//! | [`Request`] | everything | |
//! | `Result<T, T::Rejection>` | what `T` gives, or why it says no | |
//! | `Option<T>` | `None` where there is nothing: [`Json`], [`Extension`], [`Caller`](crate::layer::authorize::Caller), [`Cancellation`](crate::Cancellation) | as `T` |
//!
//! `Json`, `Bytes`, `String` and `Request` take the payload, so only the last argument can be one
//! of them. Extractors run in the order of the arguments; the first that says no is the answer,
//! and the handler does not run.
//!
//! # An extractor of one's own
//!
//! ```
//! use tower_mqtt::{Status, message::Parts, responder::extract::FromRequestParts};
//!
//! /// The device that asks, as the broker has written it into the user properties.
//! struct Device(String);
//!
//! impl<S: Sync> FromRequestParts<S> for Device {
//!     type Rejection = Status;
//!
//!     async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Status> {
//!         let device = parts.user_properties.get("device");
//!         device.map(|name| Self(name.to_owned())).ok_or(Status::UNAUTHORIZED)
//!     }
//! }
//!
//! async fn greet(Device(name): Device) -> String {
//!     format!("hello {name}")
//! }
//! # let _: tower_mqtt::Router = tower_mqtt::Router::new().route("greet", greet);
//! ```

mod caller;
#[cfg(feature = "json")]
mod json;
mod parts;
mod path;
mod payload;
mod state;

use std::convert::Infallible;
use std::future::Future;

#[cfg(feature = "json")]
pub use self::json::Json;
pub use self::parts::{Deadline, Extension, Topic};
pub use self::path::Path;
pub use self::state::{FromRef, State};
use super::into_response::IntoResponse;
use crate::message::{Parts, Request};

/// An extractor that leaves the payload alone: it can be any argument of a handler.
///
/// The [module](self) has an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be extracted from a request's parts",
    label = "not an extractor for the state `{S}`",
    note = "every argument of a handler is an extractor, and only the last one may take the payload \
            (`Json`, `Bytes`, `String`, `Request`); see `tower_mqtt::responder::extract`"
)]
pub trait FromRequestParts<S>: Sized {
    /// The answer when the extractor says no.
    type Rejection: IntoResponse;

    /// Takes the value out of the request's parts.
    ///
    /// # Errors
    /// The rejection, which is then the answer.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request with it.
    fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> impl Future<Output = Result<Self, Self::Rejection>> + Send;
}

/// An extractor that takes the payload: it can only be the last argument of a handler.
///
/// ```
/// use tower_mqtt::{Request, Status, responder::extract::FromRequest};
///
/// /// Degrees Celsius, as two bytes in network order.
/// struct Celsius(i16);
///
/// impl<S: Sync> FromRequest<S> for Celsius {
///     type Rejection = Status;
///
///     async fn from_request(request: Request, _: &S) -> Result<Self, Status> {
///         let bytes = <[u8; 2]>::try_from(request.payload().as_ref());
///         bytes.map(|bytes| Self(i16::from_be_bytes(bytes))).map_err(|_| Status::BAD_REQUEST)
///     }
/// }
///
/// async fn heat(Celsius(degrees): Celsius) -> String {
///     format!("heating to {degrees} °C")
/// }
/// # let _: tower_mqtt::Router = tower_mqtt::Router::new().route("heat", heat);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be extracted from a request",
    label = "not an extractor for the state `{S}`",
    note = "every argument of a handler is an extractor; see `tower_mqtt::responder::extract`"
)]
pub trait FromRequest<S>: Sized {
    /// The answer when the extractor says no.
    type Rejection: IntoResponse;

    /// Takes the value out of the request.
    ///
    /// # Errors
    /// The rejection, which is then the answer.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request with it.
    fn from_request(
        request: Request,
        state: &S,
    ) -> impl Future<Output = Result<Self, Self::Rejection>> + Send;
}

/// An extractor that can tell "there is nothing" from "it is wrong", so that `Option<Self>` is an
/// extractor as well. It leaves the payload alone.
pub trait OptionalFromRequestParts<S>: Sized {
    /// The answer when the extractor says no.
    type Rejection: IntoResponse;

    /// Takes the value, if there is one, out of the request's parts.
    ///
    /// # Errors
    /// The rejection, when there is something but it is wrong.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request with it.
    fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> impl Future<Output = Result<Option<Self>, Self::Rejection>> + Send;
}

/// An extractor that can tell "there is nothing" from "it is wrong", so that `Option<Self>` is an
/// extractor as well. It takes the payload.
pub trait OptionalFromRequest<S>: Sized {
    /// The answer when the extractor says no.
    type Rejection: IntoResponse;

    /// Takes the value, if there is one, out of the request.
    ///
    /// # Errors
    /// The rejection, when there is something but it is wrong.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request with it.
    fn from_request(
        request: Request,
        state: &S,
    ) -> impl Future<Output = Result<Option<Self>, Self::Rejection>> + Send;
}

impl<S: Sync, T: OptionalFromRequestParts<S>> FromRequestParts<S> for Option<T> {
    type Rejection = T::Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        T::from_request_parts(parts, state).await
    }
}

impl<S: Sync, T: OptionalFromRequest<S>> FromRequest<S> for Option<T> {
    type Rejection = T::Rejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        T::from_request(request, state).await
    }
}

impl<S: Sync, T: FromRequestParts<S>> FromRequestParts<S> for Result<T, T::Rejection> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(T::from_request_parts(parts, state).await)
    }
}

impl<S: Sync, T: FromRequest<S>> FromRequest<S> for Result<T, T::Rejection> {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        Ok(T::from_request(request, state).await)
    }
}
