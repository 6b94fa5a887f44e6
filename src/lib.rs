//! MQTT 5.0 request-response as tower services.

pub mod core;
pub mod dialect;
pub mod error;
#[cfg(feature = "ntex")]
pub mod hub;
pub mod link;
pub mod message;
pub mod requester;
pub mod responder;
mod scope;

pub use core::packet::Qos;
pub use core::topic::TopicName;
pub use error::{ConnectError, Delivery, InvalidRequest, RequestError, ServeError};
#[cfg(feature = "ntex")]
pub use hub::Hub;
#[cfg(feature = "ntex")]
pub use link::Client;
pub use link::Link;
pub use message::{Extensions, Request, Response, Status};
pub use requester::Requester;
pub use responder::{Responder, Router};
pub use scope::{Cancellation, current_deadline};
