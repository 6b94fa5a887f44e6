//! What may be called.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret;

use super::{LONGEST, Mistakes, names};
use crate::gateway::config::error::shown;
use crate::gateway::config::{Device, Dialect, Product};

impl Mistakes {
    pub(super) fn products(&mut self, products: &[Product]) {
        let mut ids = HashMap::new();
        for (index, product) in products.iter().enumerate() {
            let path = format!("products[{index}]");
            self.product(&path, product);
            if let Some(first) = ids.insert(product.id.as_str(), index) {
                let problem = format!("expected an id of its own, found that of products[{first}]");
                self.add(format!("{path}.id"), problem);
            }
        }
        self.prefixes(products);
    }

    /// A client of Tencent's says only `{product}{device}`: it could be of either product.
    fn prefixes(&mut self, products: &[Product]) {
        let is_tencent = |(_, product): &(usize, &Product)| of_tencent(product.dialect);
        let mut sorted: Vec<_> = products.iter().enumerate().filter(is_tencent).collect();
        sorted.sort_by_key(|(index, product)| (product.id.as_str(), *index));
        // Behind a prefix come those that begin with it, and nothing else until they end.
        let mut prefixes: Vec<(usize, &str)> = Vec::new();
        for (index, product) in sorted {
            let id = product.id.as_str();
            while prefixes.last().is_some_and(|(_, prefix)| !id.starts_with(prefix)) {
                prefixes.pop();
            }
            match prefixes.last() {
                Some((_, same)) if *same == id => continue,
                Some((other, prefix)) if !prefix.is_empty() => {
                    let problem = format!(
                        "expected an id that does not begin with that of products[{other}]: \
                         Tencent's devices write product and device without a mark between"
                    );
                    self.add(format!("products[{index}].id"), problem);
                }
                _ => {}
            }
            prefixes.push((index, id));
        }
    }

    fn product(&mut self, path: &str, product: &Product) {
        let Product { id, dialect, timeout, one_in_flight: _, ext, devices } = product;
        let forbidden = [&[':'], forbidden_in_product(*dialect)].concat();
        self.add_if_wrong(&format!("{path}.id"), names::level(id, &forbidden));
        if let Some(timeout) = timeout {
            let (first, last) = dialect.timeouts().into_inner();
            let range = first.max(Duration::from_millis(1))..=last.min(LONGEST);
            self.duration(&format!("{path}.timeout"), *timeout, &range);
        }
        if *ext && *dialect != Dialect::Aliyun {
            let problem = format!(
                "expected false: only Aliyun's devices have it, and these speak {:?}",
                dialect.name()
            );
            self.add(format!("{path}.ext"), problem);
        }
        let mut names = HashMap::new();
        for (index, device) in devices.iter().enumerate() {
            let path = format!("{path}.devices[{index}]");
            self.device(&path, device, *dialect);
            if let Some(first) = names.insert(device.name.as_str(), index) {
                let name = shown(&device.name);
                let problem =
                    format!("expected a name of its own, found {name} of devices[{first}]");
                self.add(format!("{path}.name"), problem);
            }
        }
    }

    fn device(&mut self, path: &str, device: &Device, dialect: Dialect) {
        let forbidden = forbidden_in_device(dialect);
        self.add_if_wrong(&format!("{path}.name"), names::level(&device.name, forbidden));
        let secret = device.secret.expose_secret();
        if secret.is_empty() {
            self.add(format!("{path}.secret"), "expected a secret, found nothing");
        } else if of_tencent(dialect) && BASE64_STANDARD.decode(secret).is_err() {
            let problem = "expected the device's PSK in base64, with its padding";
            self.add(format!("{path}.secret"), problem);
        }
    }
}

fn of_tencent(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Tencent | Dialect::TencentExplorer)
}

/// What stands between the parts of a user name or a client identifier: `lamp&a1demo`,
/// `a1demo.lamp|ext=1|`.
fn forbidden_in_product(dialect: Dialect) -> &'static [char] {
    match dialect {
        Dialect::Aliyun => &['&', '|', '.'],
        Dialect::Tencent | Dialect::TencentExplorer => &[';'],
        Dialect::Native => &[],
    }
}

fn forbidden_in_device(dialect: Dialect) -> &'static [char] {
    match dialect {
        Dialect::Aliyun => &['&', '|'],
        Dialect::Tencent | Dialect::TencentExplorer => &[';'],
        Dialect::Native => &[],
    }
}
