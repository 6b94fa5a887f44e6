//! Why an extractor says no. Each rejection is an answer; none holds a byte of the payload.

use thiserror::Error;

use super::into_response::IntoResponse;
#[cfg(feature = "json")]
use crate::message::DecodeError;
use crate::message::{Response, Status};

/// Why [`Path`](super::extract::Path) says no.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathRejection {
    /// 400: the topic has something else where the handler needs this.
    #[error("topic level {capture:?}: {what}")]
    Value {
        /// The capture's name in the route's template.
        capture: Box<str>,
        /// What was expected there.
        what: Box<str>,
    },
    /// 500: the type does not fit the route's captures (their number, or their names).
    #[error("the handler's `Path` does not fit its route: {0}")]
    Shape(Box<str>),
    /// 500: the handler was not called by a [`Router`](super::Router).
    #[error("`Path` outside a router")]
    NoRoute,
}

impl PathRejection {
    fn status(&self) -> Status {
        match self {
            Self::Value { .. } => Status::BAD_REQUEST,
            Self::Shape(_) | Self::NoRoute => Status::INTERNAL,
        }
    }
}

/// Why [`Json`](super::extract::Json) says no.
#[cfg(feature = "json")]
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JsonRejection {
    /// 415: the request says that its payload is something else.
    #[error("the payload must be JSON")]
    ContentType,
    /// 400: the payload cannot be read.
    #[error(transparent)]
    Payload(#[from] DecodeError),
}

#[cfg(feature = "json")]
impl JsonRejection {
    fn status(&self) -> Status {
        match self {
            Self::ContentType => Status::UNSUPPORTED_TYPE,
            Self::Payload(_) => Status::BAD_REQUEST,
        }
    }
}

/// 400: the payload is not the UTF-8 that `String` needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the payload is not UTF-8 from byte {valid_up_to} on")]
#[non_exhaustive]
pub struct NotUtf8 {
    /// How many bytes at the beginning are.
    pub valid_up_to: usize,
}

/// 500: no layer has set the [`Extension`](super::extract::Extension) that the handler needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no layer sets the extension {type_name}")]
#[non_exhaustive]
pub struct MissingExtension {
    /// The extension's type.
    pub type_name: &'static str,
}

/// 500: the handler was not called by a [`Responder`](crate::Responder), so nobody will say that
/// the request is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("`Cancellation` outside a responder")]
#[non_exhaustive]
pub struct NoScope;

macro_rules! answers {
    ($($(#[$attribute:meta])* $rejection:ident with $status:expr;)+) => {
        $(
            $(#[$attribute])*
            impl From<$rejection> for Status {
                fn from(rejection: $rejection) -> Self {
                    let status: fn(&$rejection) -> Status = $status;
                    status(&rejection).with_message(rejection.to_string())
                }
            }

            $(#[$attribute])*
            impl IntoResponse for $rejection {
                fn into_response(self) -> Response {
                    Status::from(self).into_response()
                }
            }
        )+
    };
}

answers! {
    PathRejection with PathRejection::status;
    #[cfg(feature = "json")]
    JsonRejection with JsonRejection::status;
    NotUtf8 with |_| Status::BAD_REQUEST;
    MissingExtension with |_| Status::INTERNAL;
    NoScope with |_| Status::INTERNAL;
}
