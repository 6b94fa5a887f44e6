//! Who may connect to the embedded hub: devices with their secrets, as their vendors' SDKs show that they
//! have them, and servers with an access key.
//!
//! | | client identifier | user name | password |
//! |---|---|---|---|
//! | [Aliyun's](aliyun) | <code>{id}\|signmethod=hmacsha1,…\|</code> | `{device}&{product}` | a signature |
//! | [Tencent's](tencent) | `{product}{device}` | `{client id};{app id};{connection};{expiry}` | a signature |
//! | any device | any | `{product}/{device}` or `{device}&{product}` | the secret |
//! | a server | any | the id of the key | its secret |
//!
//! A client identifier may be any text, but not one that the SDKs of another device use, and none that is the
//! id of another key, alone or before a `/`: a server that has such a one finds it free when it comes
//! back. Who has one keeps it: the hub gives it to nobody else while it is in use.

mod aliyun;
mod password;
mod signature;
mod tencent;

use std::sync::Arc;

use secrecy::ExposeSecret;
use thiserror::Error;

use super::super::config::{Dialect, Product};
use super::super::keys::{Key, Keys};
use super::super::products::Products;
use super::who::{Name, Who, identity_of_key};
use super::{DeviceStore, StoreUnavailable, access};
use crate::core::packet::ReasonCode;
use crate::dialect::rrpc::aliyun::SEPARATORS;
use crate::hub::{Access, Credentials, Identity};

/// Characters of a client identifier that are logged.
const LOGGED: usize = 128;

/// Decides who may connect, and what they may do.
pub(crate) struct Admission {
    products: Arc<Products>,
    store: Arc<dyn DeviceStore>,
    keys: Arc<Keys>,
}

/// Why a client is not let in. For the log: the client learns the reason code alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum Refusal {
    #[error("it has shown no user name and password")]
    NoCredentials,
    #[error("its user name is that of no access key, and of no device of a product that there is")]
    UnknownUser,
    #[error("there is no such device")]
    NoSuchDevice,
    #[error("its password is wrong")]
    WrongPassword,
    #[error("the device is disabled")]
    Disabled,
    #[error("its client identifier is that of another device or key")]
    OtherClientId,
    #[error(transparent)]
    Unavailable(#[from] StoreUnavailable),
}

impl From<Refusal> for ReasonCode {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Disabled => Self::BANNED,
            Refusal::OtherClientId => Self::CLIENT_IDENTIFIER_NOT_VALID,
            Refusal::Unavailable(_) => Self::SERVER_UNAVAILABLE,
            _ => Self::BAD_USER_NAME_OR_PASSWORD,
        }
    }
}

/// What a client shows.
#[derive(Clone, Copy)]
struct Shown<'a> {
    client_id: &'a str,
    user: &'a str,
    password: &'a [u8],
}

impl Admission {
    pub(crate) fn new(
        products: Arc<Products>,
        store: Arc<dyn DeviceStore>,
        keys: Arc<Keys>,
    ) -> Self {
        Self { products, store, keys }
    }

    /// Who a client is: for [`HubBuilder::authenticate`](crate::hub::HubBuilder::authenticate).
    pub(crate) async fn authenticate(
        &self,
        credentials: Credentials,
    ) -> Result<Identity, ReasonCode> {
        self.decide(&credentials).await.map_err(|refusal| {
            let client_id: String = credentials.client_id.chars().take(LOGGED).collect();
            tracing::info!(?client_id, peer = ?credentials.peer, %refusal, "a client is refused");
            refusal.into()
        })
    }

    /// What it may do: for [`HubBuilder::authorize`](crate::hub::HubBuilder::authorize).
    pub(crate) fn allows(&self, identity: &Identity, client_id: &str, access: Access<'_>) -> bool {
        match Who::of(identity) {
            Some(Who::Device(own)) => self
                .products
                .get(own.product)
                .is_some_and(|it| access::of_device(it.dialect, own, client_id, access)),
            Some(Who::Key(id)) => self
                .keys
                .find(id)
                .is_some_and(|key| access::of_key(key, &self.products, client_id, access)),
            None => false,
        }
    }

    async fn decide(&self, credentials: &Credentials) -> Result<Identity, Refusal> {
        let Credentials { client_id, username: Some(user), password: Some(password), .. } =
            credentials
        else {
            return Err(Refusal::NoCredentials);
        };
        let shown = Shown { client_id, user, password };
        let (own, identity) = if let Some(key) = self.keys.find(user) {
            let secret = key.secret.as_ref().map(ExposeSecret::expose_secret);
            if !secret.is_some_and(|secret| password::verify(secret, password)) {
                return Err(Refusal::WrongPassword);
            }
            (None, identity_of_key(&key.id))
        } else {
            let own = self.device(shown).await?;
            (Some(own), own.identity())
        };
        let is_of_another_key = self.key_of(client_id).is_some_and(|key| {
            let own = own.is_some_and(|own| self.makes(client_id, own));
            !own && identity != identity_of_key(&key.id)
        });
        if is_of_another_key || self.is_of_another(client_id, own).await? {
            return Err(Refusal::OtherClientId);
        }
        Ok(identity)
    }

    /// The device that a client is.
    async fn device<'a>(&'a self, shown: Shown<'a>) -> Result<Name<'a>, Refusal> {
        let mut why = Refusal::UnknownUser;
        for (product, name) in self.candidates(shown) {
            let Some(device) = self.store.find(name.product, name.device).await? else {
                why = Refusal::NoSuchDevice;
                continue;
            };
            if shown.proves(product.dialect, name, device.secret.expose_secret()) {
                // Nobody else learns it.
                return if device.disabled { Err(Refusal::Disabled) } else { Ok(name) };
            }
            why = Refusal::WrongPassword;
        }
        Err(why)
    }

    /// The devices that a user name may be of: one, or with Tencent's, which has no separator, one of
    /// each product whose id the client identifier begins with.
    fn candidates<'a>(&'a self, shown: Shown<'a>) -> Vec<(&'a Product, Name<'a>)> {
        let mut found = Vec::new();
        if tencent::is_user(shown) {
            found.extend(self.of_tencent(shown.client_id));
        } else if let Some(name) = password::name(shown.user) {
            found.extend(self.products.get(name.product).map(|product| (product, name)));
        }
        found.retain(|(_, name)| name.is_valid());
        found
    }

    fn of_tencent<'a>(
        &'a self,
        client_id: &'a str,
    ) -> impl Iterator<Item = (&'a Product, Name<'a>)> {
        self.products.iter().filter(|product| is_tencents(product.dialect)).filter_map(
            move |product| {
                let device = client_id.strip_prefix(&*product.id)?;
                Some((product, Name { product: &product.id, device }))
            },
        )
    }

    /// The key whose servers alone have this client identifier. No key has a slash in its id.
    fn key_of(&self, client_id: &str) -> Option<&Arc<Key>> {
        self.keys.find(client_id.split('/').next().unwrap_or_default())
    }

    /// Whether a client identifier is one that the SDKs of the device's dialect make for it.
    fn makes(&self, client_id: &str, own: Name<'_>) -> bool {
        let product = self.products.get(own.product);
        product.is_some_and(|product| is_made_of(client_id, own, product.dialect))
    }

    /// Whether a client identifier is one that an SDK makes for another device that there is.
    async fn is_of_another(
        &self,
        client_id: &str,
        own: Option<Name<'_>>,
    ) -> Result<bool, StoreUnavailable> {
        if own.is_some_and(|own| self.makes(client_id, own)) {
            return Ok(false);
        }
        // Parameters follow the first `|` of Aliyun's alone.
        let whole = client_id.contains('|').then_some(client_id);
        let ids = whole.into_iter().chain([before_parameters(client_id)]);
        let separated = ids.clone().flat_map(|id| {
            SEPARATORS.into_iter().chain(['/']).filter_map(move |separator| {
                let (product, device) = id.split_once(separator)?;
                self.products.get(product).map(|_| Name { product, device })
            })
        });
        let joined = ids.flat_map(|id| self.of_tencent(id)).map(|(_, name)| name);
        let others = separated.chain(joined).filter(|name| name.is_valid() && own != Some(*name));
        for name in others {
            if self.store.find(name.product, name.device).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a client identifier is one that the SDKs of this dialect make for the device. Those of others
/// may make it for another: `abc` is `a/bc`, and `ab/c`.
fn is_made_of(client_id: &str, Name { product, device }: Name<'_>, dialect: Dialect) -> bool {
    let id = match dialect {
        Dialect::Aliyun => before_parameters(client_id),
        _ => client_id,
    };
    let Some(between) = id.strip_prefix(product).and_then(|rest| rest.strip_suffix(device)) else {
        return false;
    };
    match dialect {
        Dialect::Aliyun => SEPARATORS.iter().any(|one| between.chars().eq([*one])),
        Dialect::Tencent | Dialect::TencentExplorer => between.is_empty(),
        Dialect::Native => between == "/",
    }
}

fn before_parameters(client_id: &str) -> &str {
    client_id.split('|').next().unwrap_or_default()
}

fn is_tencents(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Tencent | Dialect::TencentExplorer)
}

impl Shown<'_> {
    /// Whether it shows that the client has the secret of the device.
    fn proves(self, dialect: Dialect, name: Name<'_>, secret: &str) -> bool {
        if secret.is_empty() {
            return false;
        }
        if tencent::is_user(self) {
            return is_tencents(dialect) && tencent::verify(secret, self);
        }
        let signed = dialect == Dialect::Aliyun && aliyun::verify(secret, name, self);
        signed || password::verify(secret, self.password)
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
