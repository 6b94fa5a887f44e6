//! Fresh ids for requests: their Correlation Data.
//!
//! No other request has the same, and nobody can guess them: 80 random bits behind the time. (The
//! monotonic generator is not used: its next value can be guessed from the last.)

use bytes::Bytes;
use ulid::Ulid;

use crate::core::short;
use crate::core::topic::is_unsafe;

/// 16 bytes.
pub(crate) fn fresh() -> Bytes {
    short::copy_of(&Ulid::new().to_bytes())
}

/// 26 characters.
pub(crate) fn fresh_text() -> Bytes {
    short::copy_of(Ulid::new().array_to_str(&mut [0; ulid::ULID_LEN]).as_bytes())
}

/// An id that somebody chose, as text: itself if it is, a ULID of 16 bytes as 26 characters. What is
/// neither stays as it is.
pub(crate) fn into_text(id: Bytes) -> Bytes {
    if std::str::from_utf8(&id).is_ok_and(|text| !text.contains(is_unsafe)) {
        return id;
    }
    match <[u8; 16]>::try_from(&*id) {
        Ok(bytes) => Bytes::from(Ulid::from_bytes(bytes).to_string()),
        Err(_) => id,
    }
}

/// Decimal digits of a positive number below two to the power of `bits` (1 to 63). Its first binary
/// digit is set, so that ids of one requester have about the same width.
pub(crate) fn fresh_decimal(bits: u32) -> Bytes {
    let bits = bits.clamp(1, 63);
    let top = 1_u64 << (bits - 1);
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are random as well")]
    let random = Ulid::new().random() as u64;
    Bytes::from((top | (random & (top - 1))).to_string())
}

/// Any number of the range.
pub(crate) fn random_within(first: u16, last: u16) -> u16 {
    let count = u128::from(last.saturating_sub(first)) + 1;
    let offset = u16::try_from(Ulid::new().random() % count).expect("less than 65,536");
    first + offset
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_have_their_format_and_differ_in_their_random_part() {
        assert_eq!(fresh_text().len(), 26);
        let random: HashSet<_> = (0..1000).map(|_| fresh()).map(|id| id.slice(6..16)).collect();
        assert_eq!(random.len(), 1000);
    }

    #[test]
    fn a_chosen_id_becomes_text() {
        let ulid = Ulid::new();
        let text = into_text(Bytes::copy_from_slice(&ulid.to_bytes()));
        assert_eq!(text, ulid.to_string());
        assert_eq!(into_text(text.clone()), text);
        assert_eq!(into_text(Bytes::from_static(b"exactly 16 bytes")), "exactly 16 bytes");
        assert_eq!(into_text(Bytes::from_static(b"\xff")), &b"\xff"[..]);
    }

    #[test]
    fn decimal_ids_are_positive_numbers_of_so_many_bits() {
        for bits in [1, 31, 63] {
            let number = || std::str::from_utf8(&fresh_decimal(bits)).unwrap().parse::<i64>();
            assert_eq!(number().unwrap().ilog2(), bits - 1);
        }
        let many: HashSet<_> = (0..1000).map(|_| fresh_decimal(63)).collect();
        assert_eq!(many.len(), 1000);
    }

    #[test]
    fn a_random_number_is_within_its_range() {
        let seen: HashSet<_> = (0..1000).map(|_| random_within(3, 6)).collect();
        assert_eq!(seen, HashSet::from([3, 4, 5, 6]));
        assert_eq!((random_within(7, 7), random_within(0, 0)), (7, 0));
        assert!((0..100).all(|_| random_within(65_000, u16::MAX) >= 65_000));
    }
}
