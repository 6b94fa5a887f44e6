//! A user name, and the secret as password.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::super::who::Name;

/// The device of a user name: `{product}/{device}`, or `{device}&{product}` as Aliyun's are.
pub(super) fn name(user: &str) -> Option<Name<'_>> {
    if let Some((product, device)) = user.split_once('/') {
        return Some(Name { product, device });
    }
    let (device, product) = user.rsplit_once('&')?;
    Some(Name { product, device })
}

/// Compares digests, so that the time tells neither how much is right nor how long the secret is.
pub(super) fn verify(secret: &str, password: &[u8]) -> bool {
    !secret.is_empty() && Sha256::digest(secret).ct_eq(&Sha256::digest(password)).into()
}
