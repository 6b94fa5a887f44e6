//! The identity of the connection, as the hub has authenticated it.
//!
//! The hub knows who each connection belongs to that it has
//! authenticated, and writes that into every message that it forwards:
//!
//! | user property | value |
//! |---|---|
//! | `hub-client-id` | the sender's client identifier |
//! | `hub-identity` | who the hub's authentication says it is |
//!
//! It removes what a sender has written there itself, so these cannot be forged. Who has come in without
//! authentication, neither by a hook nor by a verified client certificate, is nobody: the hub removes,
//! and writes nothing. A link of the hub's own process is
//! trusted, and is identified by its client identifier; no authentication hook should give that name
//! to a stranger.
//!
//! This holds behind the hub *only*: an ordinary broker passes on what the sender wrote. Never use it
//! on a link to a broker.
#![cfg_attr(
    feature = "ntex",
    doc = r#"
```
use tower::ServiceExt;
use tower_mqtt::core::packet::ReasonCode;
use tower_mqtt::hub::{Credentials, Identity};
use tower_mqtt::layer::authorize::hub_identity::{HubIdentity, IDENTITY};
use tower_mqtt::layer::authorize::{AuthorizeLayer, Caller};
use tower_mqtt::{Client, Hub, Request, Requester, Responder, Router};

# #[tokio::main(flavor = "current_thread")]
# async fn main() -> Result<(), Box<dyn std::error::Error>> {
let check = async |credentials: Credentials| match credentials.password.as_deref() {
    Some(b"open sesame") => Ok(Identity::new("anna")),
    _ => Err(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
};
let hub = Hub::builder().bind("127.0.0.1:0").authenticate(check).start().await?;
let router = Router::new()
    .route("greet", async |who: Caller| format!("hello {who}"))
    .layer(AuthorizeLayer::new(HubIdentity::new()));
let responder = Responder::builder(hub.link("kitchen")).serve(router).await?;

let address = hub.local_addr().expect("it was bound");
let link = Client::connect(&format!("mqtt://m7:open%20sesame@{address}")).await?;
let requester = Requester::builder(link).build().await?;
let forged = Request::new("greet", "")?.with_user_property(IDENTITY, "the chef");
assert_eq!(requester.oneshot(forged).await?.payload(), "hello anna");
# drop(responder);
# hub.shutdown(std::time::Duration::from_secs(1)).await;
# Ok(())
# }
```"#
)]

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

        let request =
            request.with_user_property(IDENTITY, "anna").with_user_property(CLIENT_ID, "M7");
        let request = HubIdentity::new().authorize(request).into_inner().unwrap();
        let parts = request.parts();
        assert_eq!(parts.extensions.get(), Some(&Caller::new("anna")));
        assert_eq!(parts.extensions.get(), Some(&ClientId("M7".into())));
        assert!(parts.user_properties.is_empty());
    }
}
