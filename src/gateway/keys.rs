//! Access keys: who calls.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::config::AccessKey;

/// The access keys, by their ids and by their bearer tokens.
#[derive(Default)]
pub(crate) struct Keys {
    by_id: HashMap<Arc<str>, Arc<Key>>,
    /// By the token's digest, so that a lookup tells nothing of how much of a token is right.
    by_token: HashMap<[u8; 32], Arc<Key>>,
}

/// One access key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: Arc<str>,
    /// `None`: it signs nothing.
    pub(crate) secret: Option<SecretString>,
    /// `None`: all.
    products: Option<HashSet<String>>,
}

impl Key {
    pub(crate) fn may_call(&self, product: &str) -> bool {
        self.products.as_ref().is_none_or(|products| products.contains(product))
    }
}

impl Keys {
    pub(crate) fn new(keys: &[AccessKey]) -> Self {
        let mut all = Self::default();
        for AccessKey { id, secret, bearer, products } in keys {
            let id = id.as_str().into();
            let products = products.clone().map(HashSet::from_iter);
            let key = Key { id, secret: given(secret.as_ref()).cloned(), products };
            let key = Arc::new(key);
            all.by_id.insert(key.id.clone(), Arc::clone(&key));
            if let Some(token) = given(bearer.as_ref()) {
                all.by_token.insert(digest(token.expose_secret()), key);
            }
        }
        all
    }

    /// The key of this id.
    pub(crate) fn find(&self, id: &str) -> Option<&Arc<Key>> {
        self.by_id.get(id)
    }

    /// The key of this id and its secret, if it has one.
    pub(crate) fn signer(&self, id: &str) -> Option<(&Arc<Key>, &str)> {
        let key = self.find(id)?;
        Some((key, key.secret.as_ref()?.expose_secret()))
    }

    /// The key that has this bearer token.
    pub(crate) fn of_bearer(&self, token: &str) -> Option<&Arc<Key>> {
        self.by_token.get(&digest(token))
    }
}

/// An empty secret is none: everybody has it.
fn given(secret: Option<&SecretString>) -> Option<&SecretString> {
    secret.filter(|secret| !secret.expose_secret().is_empty())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_id.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let key = |id: &str, bearer: Option<&str>, products| AccessKey {
            id: id.to_owned(),
            secret: Some("testsecret".into()),
            bearer: bearer.map(SecretString::from),
            products,
        };
        let some = Some(vec!["a1".to_owned()]);
        Keys::new(&[key("one", Some("token"), some), key("two", None, None)])
    }

    #[test]
    fn a_key_is_found_by_its_id_and_by_its_token() {
        let keys = keys();
        assert_eq!(&*keys.find("two").unwrap().id, "two");
        assert_eq!(&*keys.of_bearer("token").unwrap().id, "one");
        let (key, secret) = keys.signer("two").unwrap();
        assert_eq!((&*key.id, secret), ("two", "testsecret"));
        assert!(keys.signer("three").is_none());
        assert!(keys.find("three").is_none() && keys.of_bearer("tokem").is_none());
        assert!(keys.of_bearer("").is_none());
    }

    #[test]
    fn an_empty_secret_is_none() {
        let keys = Keys::new(&[AccessKey::new("k").with_secret("").with_bearer("")]);
        assert!(keys.find("k").is_some_and(|key| key.secret.is_none()));
        assert!(keys.signer("k").is_none());
        assert!(keys.of_bearer("").is_none());
    }

    #[test]
    fn a_key_calls_the_products_that_it_may() {
        let keys = keys();
        assert!(keys.find("one").unwrap().may_call("a1"));
        assert!(!keys.find("one").unwrap().may_call("a2"));
        assert!(keys.find("two").unwrap().may_call("a2"));
    }

    #[test]
    fn no_secret_is_in_the_debug_text() {
        let keys = keys();
        let text = format!("{keys:?} {:?}", keys.find("one"));
        assert!(text.contains("one") && !text.contains("testsecret") && !text.contains("token"));
    }
}
