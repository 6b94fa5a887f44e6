//! HMAC-SHA256 (RFC 2104) over several fields.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

/// A secret that both sides know, for HMAC-SHA256. Its `Debug` does not show it.
///
/// Take 32 random bytes; more gain nothing (RFC 2104 §3).
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// The secret is shorter than [`Key::MIN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a key must have {} bytes at least, this one has {length}", Key::MIN)]
#[non_exhaustive]
pub struct KeyTooShort {
    /// Bytes that it has.
    pub length: usize,
}

/// Says the key that goes by a name.
pub(super) type FindKey = dyn Fn(&str) -> Option<Key> + Send + Sync;

impl Key {
    /// Fewest bytes that are taken for a key. 16: what an attacker cannot guess, and no empty text
    /// from a configuration that was forgotten.
    pub const MIN: usize = 16;

    /// A key of these bytes.
    ///
    /// # Errors
    /// [`KeyTooShort`] when there are fewer than [`Key::MIN`].
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, KeyTooShort> {
        let secret = secret.as_ref();
        if secret.len() < Self::MIN {
            return Err(KeyTooShort { length: secret.len() });
        }
        Ok(Self::of(secret))
    }

    /// A key that nobody knows: what is tagged with it is right by chance only.
    pub(super) fn random() -> Self {
        Self::of(&crate::id::fresh())
    }

    fn of(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// The tag of these fields. `purpose` keeps what is tagged for one purpose from being taken for
    /// another; the lengths keep a byte from moving over the border of two fields.
    pub(super) fn tag(&self, purpose: &str, fields: &[&[u8]]) -> [u8; 32] {
        self.mac(purpose, fields).finalize().into_bytes().into()
    }

    /// Whether `tag` is the tag of these fields; takes the same time wherever it differs.
    pub(super) fn verify(&self, purpose: &str, fields: &[&[u8]], tag: &[u8]) -> bool {
        self.mac(purpose, fields).verify_slice(tag).is_ok()
    }

    fn mac(&self, purpose: &str, fields: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for field in [purpose.as_bytes()].iter().chain(fields) {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// As text: base64 with the alphabet for URLs, without padding (RFC 4648 §5).
pub(super) fn to_text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// From text, exactly `N` bytes.
pub(super) fn from_text<const N: usize>(text: &str) -> Option<[u8; N]> {
    // The length first, so that a long text is not decoded for nothing.
    let fits = text.len() == (N * 4).div_ceil(3);
    fits.then(|| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key::new([7; 32]).unwrap()
    }

    #[test]
    fn a_short_key_is_refused_and_no_key_is_shown() {
        assert_eq!(Key::new([1; 15]).unwrap_err(), KeyTooShort { length: 15 });
        assert_eq!(format!("{:?}", Key::new("0123456789abcdef").unwrap()), "Key(…)");
    }

    /// RFC 4231 §4.7, test case 6: what the fields are framed into is tagged as the RFC says.
    #[test]
    fn it_is_the_hmac_of_the_rfc() {
        let mut mac = Key::new([0xaa; 131]).unwrap().0;
        mac.update(b"Test Using Larger Than Block-Size Key - Hash Key First");
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        assert_eq!(tag[..8], [0x60, 0xe4, 0x31, 0x59, 0x1e, 0xe0, 0xb6, 0x7f]);
        let framed = [&3_u64.to_be_bytes()[..], b"for", &1_u64.to_be_bytes()[..], b"x"].concat();
        let mut mac = key().0;
        mac.update(&framed);
        assert_eq!(key().tag("for", &[b"x"]), <[u8; 32]>::from(mac.finalize().into_bytes()));
    }

    proptest! {
        #[test]
        fn no_other_fields_have_the_same_tag(
            a in prop::collection::vec(prop::collection::vec(0..3_u8, 0..4), 0..4),
            b in prop::collection::vec(prop::collection::vec(0..3_u8, 0..4), 0..4),
        ) {
            let x: Vec<_> = a.iter().map(Vec::as_slice).collect();
            let y: Vec<_> = b.iter().map(Vec::as_slice).collect();
            let tag = key().tag("p", &x);
            let same = key().verify("p", &y, &tag);
            prop_assert_eq!(same, a == b);
            prop_assert!(!key().verify("q", &x, &tag));
        }
    }

    #[test]
    fn text_of_another_length_or_alphabet_is_no_tag() {
        let tag = key().tag("p", &[]);
        assert_eq!(from_text(&to_text(&tag)), Some(tag));
        for wrong in [
            "",
            "AA",
            &to_text(&tag)[1..],
            &format!("{}A", to_text(&tag)),
            &"=".repeat(43),
            &"é".repeat(22),
        ] {
            assert_eq!(from_text::<32>(wrong), None, "{wrong}");
        }
    }
}
