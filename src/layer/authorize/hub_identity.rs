//! The identity of the connection, as the [hub](crate) has authenticated it.
//!
//! The hub knows who each connection belongs to. It writes that into every message that it
//! forwards, after it has removed what the sender had put there itself:
//!
//! | user property | value |
//! |---|---|
//! | `hub-client-id` | the sender's client identifier |
//! | `hub-identity` | who its authentication says it is; absent when the hub authenticates nobody |
//!
//! So a sender cannot forge them. This holds behind the hub *only*: an ordinary broker passes on
//! what the sender wrote. Never use it on a link to a broker.
//!
//! ```
//! use tower::ServiceExt;
//! use tower_mqtt::layer::authorize::hub_identity::HubIdentity;
//! use tower_mqtt::layer::authorize::{AuthorizeLayer, Caller};
//! use tower_mqtt::{Request, Router};
//!
//! let router = Router::new()
//!     .route("greet", async |who: Caller| format!("hello {who}"))
//!     .layer(AuthorizeLayer::new(HubIdentity::new()));
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // As the hub forwards it:
//! let request = Request::new("greet", "")?.user_property("hub-identity", "anna");
//! assert_eq!(router.clone().oneshot(request).await?.payload(), "hello anna");
//! assert_eq!(router.oneshot(Request::new("greet", "")?).await?.status().code(), 401);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

use std::future::{Ready, ready};

use super::{Authorize, Caller};
use crate::message::{Request, Status};

/// The user property with the sender's client identifier.
pub const CLIENT_ID: &str = "hub-client-id";
/// The user property with what the hub's authentication says.
pub const IDENTITY: &str = "hub-identity";

/// Reads who asks from what the hub has written; 401 when there is nothing.
///
/// The two user properties are removed, and the identity becomes the [`Caller`]. The client
/// identifier is what the client chose: it is left in the extensions as [`ClientId`].
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct HubIdentity;

/// The client identifier of the connection that a request came over, as the hub knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientId(pub String);

impl HubIdentity {
    /// Takes what the hub has written.
    pub const fn new() -> Self {
        Self
    }
}

impl Authorize for HubIdentity {
    type Future = Ready<Result<Request, Status>>;

    fn authorize(&self, mut request: Request) -> Self::Future {
        let parts = request.parts_mut();
        if let Some(client_id) = parts.user_properties.remove(CLIENT_ID) {
            parts.extensions.insert(ClientId(client_id.into_owned()));
        }
        let Some(identity) = parts.user_properties.remove(IDENTITY) else {
            return ready(Err(Status::UNAUTHORIZED));
        };
        parts.extensions.insert(Caller::new(identity));
        ready(Ok(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hub_wrote_becomes_the_caller_and_is_taken_out() {
        let request = Request::new("a", "").unwrap();
        let refused = HubIdentity::new().authorize(request.clone()).into_inner();
        assert_eq!(refused.unwrap_err(), Status::UNAUTHORIZED);

        let request = request.user_property(IDENTITY, "anna").user_property(CLIENT_ID, "M7");
        let request = HubIdentity::new().authorize(request).into_inner().unwrap();
        let parts = request.parts();
        assert_eq!(parts.extensions.get(), Some(&Caller::new("anna")));
        assert_eq!(parts.extensions.get(), Some(&ClientId("M7".into())));
        assert!(parts.user_properties.is_empty());
    }
}
