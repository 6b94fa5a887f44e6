//! The kinds of devices that there are.

use std::collections::HashMap;

use super::config::Product;

/// The products, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Products(HashMap<Box<str>, Product>);

impl Products {
    pub(crate) fn new(products: &[Product]) -> Self {
        let named = products.iter().map(|product| (product.id.as_str().into(), product.clone()));
        Self(named.collect())
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Product> {
        self.0.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Product> {
        self.0.values()
    }
}
