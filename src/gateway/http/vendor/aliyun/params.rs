//! The parameters of a request, from its query and from its form.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use url::form_urlencoded;

use super::reply::Refusal;

/// All but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Most parameters of a request. `Pub` with all its user properties has about 60.
const MAX: usize = 128;

/// Names and values, each name once, in the order in which they are signed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    pub(super) fn parse(encoded: &[u8]) -> Result<Self, Refusal> {
        if !is_encoded(encoded) {
            let message = "The parameters are not encoded as UTF-8 with percent signs.";
            return Err(Refusal::invalid("InvalidParameter", message));
        }
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(encoded) {
            params.add(name.into_owned(), value.into_owned())?;
        }
        Ok(params)
    }

    /// These and those together.
    pub(super) fn with(mut self, others: Self) -> Result<Self, Refusal> {
        for (name, value) in others.0 {
            self.add(name, value)?;
        }
        Ok(self)
    }

    fn add(&mut self, name: String, value: String) -> Result<(), Refusal> {
        if self.0.len() >= MAX {
            let message = format!("A request has {MAX} parameters at most.");
            return Err(Refusal::invalid("InvalidParameter", message));
        }
        match self.0.entry(name) {
            Entry::Vacant(free) => {
                free.insert(value);
                Ok(())
            }
            Entry::Occupied(taken) => {
                let message = format!("The parameter {:?} is given twice.", taken.key());
                Err(Refusal::invalid("InvalidParameter", message))
            }
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Its value, unless that is empty.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub(super) fn mandatory(&self, name: &str) -> Result<&str, Refusal> {
        self.given(name).ok_or_else(|| Refusal::missing(name))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// As they are signed.
    pub(super) fn canonical(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            if !text.is_empty() {
                text.push('&');
            }
            text.extend(utf8_percent_encode(name, ESCAPED));
            text.push('=');
            text.extend(utf8_percent_encode(value, ESCAPED));
        }
        text
    }
}

/// Percent-encodes for a signature.
pub(super) fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn is_encoded(text: &[u8]) -> bool {
    let is_escape =
        |rest: &[u8]| rest.get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    text.split(|byte| *byte == b'%').skip(1).all(is_escape)
        && percent_decode(text).decode_utf8().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_sorted_and_escaped_as_rfc_3986_has_it() {
        let params = Params::parse(b"b=a+b%2Fc%7E*&a&A=%E4%BD%A0").unwrap();
        assert_eq!(params.canonical(), "A=%E4%BD%A0&a=&b=a%20b%2Fc~%2A");
        assert_eq!((params.get("a"), params.given("a")), (Some(""), None));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for wrong in ["a=1&a=2", "a=%", "a=%4", "a=%zz", "a=%ff", "%fe=1", "a=\u{0}%c3&b=%a9"] {
            assert!(Params::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(Params::parse(b"a=\xff").is_err());
        let (one, other) = (Params::parse(b"a=1").unwrap(), Params::parse(b"a=1").unwrap());
        assert!(one.with(other).is_err());
    }

    #[test]
    fn there_is_an_end_of_parameters() {
        let many = |n: usize| (0..n).map(|i| format!("{i}=")).collect::<Vec<_>>().join("&");
        assert!(Params::parse(many(MAX).as_bytes()).is_ok());
        assert!(Params::parse(many(MAX + 1).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_canonical_is_read_back(
            pairs in prop::collection::btree_map(".{1,8}", ".{0,8}", 0..8)
        ) {
            let params = Params(pairs);
            prop_assert_eq!(Params::parse(params.canonical().as_bytes()).unwrap(), params);
        }
    }
}
