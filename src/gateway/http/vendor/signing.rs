//! What the vendors' signatures with HMAC-SHA256 have in common: headers are signed that the
//! request lists.

use axum::http::HeaderMap;
use axum::http::request::Parts;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(super) fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.chain_update(text).finalize().into_bytes().into()
}

/// Compares a signature with its text in lower-case hex; takes the same time wherever it differs.
pub(super) fn is_hex_of(given: &str, signature: [u8; 32]) -> bool {
    hex::encode(signature).as_bytes().ct_eq(given.as_bytes()).into()
}

/// The text of a header that stands once; `None` when it is absent, repeated or no text.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.to_str().ok().map(str::trim))?
}

/// `Credential=…, SignedHeaders=…, Signature=…`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authorization<'a> {
    pub(super) credential: &'a str,
    /// In ascending order, each once.
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// What follows the name of the algorithm; the error says what is wrong with it.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let [mut credential, mut signed, mut signature] = [None; 3];
        for part in text.split(',') {
            let (name, value) = part.trim().split_once('=').ok_or("a part of it has no value")?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed,
                "Signature" => &mut signature,
                _ => return Err("it has an unknown part"),
            };
            if slot.replace(value).is_some() {
                return Err("a part of it stands twice");
            }
        }
        let signed_headers: Vec<_> = signed.ok_or("it has no SignedHeaders")?.split(';').collect();
        if !signed_headers.is_sorted_by(|a, b| a < b) {
            return Err("its SignedHeaders are not in order");
        }
        Ok(Self {
            credential: credential.ok_or("it has no Credential")?,
            signed_headers,
            signature: signature.ok_or("it has no Signature")?,
        })
    }

    pub(super) fn signs(&self, header: &str) -> bool {
        self.signed_headers.binary_search(&header).is_ok()
    }

    /// The signed headers, a line each, in the order in which they are listed; values that a header
    /// has several of are sorted. The error is the name of one that the request does not have, or
    /// that is not in lower case.
    pub(super) fn canonical_headers(&self, headers: &HeaderMap) -> Result<Vec<u8>, &'a str> {
        let mut lines = Vec::new();
        for name in &self.signed_headers {
            let all = headers.get_all(*name);
            let mut values: Vec<_> =
                all.iter().map(|value| value.as_bytes().trim_ascii()).collect();
            if values.is_empty() || name.contains(|c: char| c.is_ascii_uppercase()) {
                return Err(name);
            }
            values.sort_unstable();
            lines.extend_from_slice(name.as_bytes());
            lines.push(b':');
            lines.extend_from_slice(&values.join(&b','));
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// All that is signed: method, path, query and headers as they are canonical, the names of the headers,
    /// and the digest of the body.
    pub(super) fn canonical_request(
        &self,
        parts: &Parts,
        query: &str,
        headers: &[u8],
        digest: &str,
    ) -> Vec<u8> {
        [
            parts.method.as_str().as_bytes(),
            parts.uri.path().as_bytes(),
            query.as_bytes(),
            headers,
            self.signed_headers.join(";").as_bytes(),
            digest.as_bytes(),
        ]
        .join(&b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorization_is_read_with_and_without_spaces() {
        let read = Authorization::parse("Credential=a/b, SignedHeaders=c;h,Signature=00").unwrap();
        assert_eq!((read.credential, read.signature), ("a/b", "00"));
        assert!(read.signs("c") && read.signs("h") && !read.signs("x"));
    }

    #[test]
    fn what_is_no_authorization_says_why() {
        for (wrong, why) in [
            ("", "a part of it has no value"),
            ("Credential=a,Signature=b", "it has no SignedHeaders"),
            ("SignedHeaders=a,Signature=b", "it has no Credential"),
            ("SignedHeaders=a,Credential=b", "it has no Signature"),
            ("Credential=a,SignedHeaders=b;a,Signature=0", "its SignedHeaders are not in order"),
            ("Credential=a,SignedHeaders=a;a,Signature=0", "its SignedHeaders are not in order"),
            ("Credential=a,Credential=a,SignedHeaders=b,Signature=0", "a part of it stands twice"),
            ("Credential=a,X=1,SignedHeaders=b,Signature=0", "it has an unknown part"),
        ] {
            assert_eq!(Authorization::parse(wrong), Err(why), "{wrong}");
        }
    }

    #[test]
    fn headers_are_trimmed_and_their_values_joined() {
        let mut headers = HeaderMap::new();
        headers.append("b", " 2 ".parse().unwrap());
        headers.append("b", "1".parse().unwrap());
        headers.append("a", "x y".parse().unwrap());
        let of = |signed: &'static str| {
            let text = format!("Credential=,SignedHeaders={signed},Signature=");
            let read = Authorization::parse(&text).unwrap();
            read.canonical_headers(&headers).map_err(str::to_owned)
        };
        assert_eq!(of("a;b").unwrap(), b"a:x y\nb:1,2\n");
        assert_eq!(of("a;c").unwrap_err(), "c");
        assert_eq!(of("A;b").unwrap_err(), "A");
        assert_eq!(single(&headers, "a"), Some("x y"));
        assert_eq!((single(&headers, "b"), single(&headers, "c")), (None, None));
    }
}
