//! Who may call.

use std::collections::{HashMap, HashSet};

use secrecy::ExposeSecret;

use super::{Mistakes, names};
use crate::gateway::config::error::shown;
use crate::gateway::config::{AccessKey, Product, SecretString};

/// Signatures name a key beside other things, behind which these stand.
const FORBIDDEN: [char; 4] = [',', ';', '=', ' '];

impl Mistakes {
    pub(super) fn keys(&mut self, keys: &[AccessKey], products: &[Product]) {
        let products: HashSet<_> = products.iter().map(|product| product.id.as_str()).collect();
        let mut ids = HashMap::new();
        let mut tokens = HashMap::new();
        for (index, key) in keys.iter().enumerate() {
            let path = format!("keys[{index}]");
            self.key(&path, key, &products);
            if let Some(first) = ids.insert(key.id.as_str(), index) {
                let problem = format!("expected an id of its own, found that of keys[{first}]");
                self.add(format!("{path}.id"), problem);
            }
            let Some(bearer) = &key.bearer else { continue };
            if let Some(first) = tokens.insert(bearer.expose_secret(), index) {
                let problem = format!("expected a token of its own, found that of keys[{first}]");
                self.add(format!("{path}.bearer"), problem);
            }
        }
    }

    fn key(&mut self, path: &str, key: &AccessKey, known: &HashSet<&str>) {
        let AccessKey { id, secret, bearer, products } = key;
        self.add_if_wrong(&format!("{path}.id"), names::level(id, &FORBIDDEN));
        if secret.is_none() && bearer.is_none() {
            self.add(path, "expected a secret or a bearer token, found neither");
        }
        if secret.as_ref().is_some_and(|secret| secret.expose_secret().is_empty()) {
            self.add(format!("{path}.secret"), "expected a secret, found nothing");
        }
        if bearer.as_ref().is_some_and(|token| !is_token(token)) {
            let problem = "expected printable ASCII for a header, and no space at its ends";
            self.add(format!("{path}.bearer"), problem);
        }
        let Some(products) = products else { return };
        if products.is_empty() {
            let problem = "expected at least one product; left out, they are all";
            self.add(format!("{path}.products"), problem);
        }
        for (index, product) in products.iter().enumerate() {
            if !known.contains(product.as_str()) {
                let problem = format!("expected the id of a product, found {}", shown(product));
                self.add(format!("{path}.products[{index}]"), problem);
            }
        }
    }
}

fn is_token(token: &SecretString) -> bool {
    let token = token.expose_secret();
    let is_possible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    !token.is_empty() && token.trim() == token && token.bytes().all(is_possible)
}
