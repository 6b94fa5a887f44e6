//! Message ids as numbers, whatever a dialect writes.

use std::str;

use ulid::Ulid;

use crate::id;

/// The number that stands for a request's id: itself where it is one (Aliyun, Tencent), else 63 of a
/// ULID's random bits.
pub(super) fn number(id: &[u8]) -> Option<u64> {
    if let Ok(bytes) = <[u8; 16]>::try_from(id) {
        return Some(of_ulid(Ulid::from_bytes(bytes)));
    }
    let text = str::from_utf8(id).ok()?;
    text.parse().ok().or_else(|| Ulid::from_string(text).ok().map(of_ulid))
}

/// One for a message that has none on the wire.
pub(super) fn fresh() -> u64 {
    number(&id::fresh_decimal(63)).unwrap_or_default()
}

fn of_ulid(ulid: Ulid) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are random as well")]
    let random = ulid.random() as u64;
    random & (u64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_id_is_a_positive_number_of_63_bits() {
        assert_eq!(number(b"41440"), Some(41_440));
        assert_eq!(number(b"9223372036854775807"), Some(u64::MAX >> 1));
        let ulid = Ulid::new();
        let number_of_it = number(&ulid.to_bytes());
        assert_eq!(number(ulid.to_string().as_bytes()), number_of_it);
        assert!(number_of_it.is_some_and(|number| number >> 63 == 0));
        assert_eq!((number(b"abc"), number(b"\xff"), number(b"")), (None, None, None));
        assert!(fresh() >> 62 == 1);
    }
}
