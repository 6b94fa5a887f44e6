//! Fresh ids for requests: their Correlation Data.
//!
//! No other request has the same, and nobody can guess them: 80 random bits behind the time. (The
//! monotonic generator is not used: its next value can be guessed from the last.)

use bytes::Bytes;
use ulid::Ulid;

/// 16 bytes.
pub(crate) fn fresh() -> Bytes {
    Bytes::copy_from_slice(&Ulid::new().to_bytes())
}

/// 26 characters.
pub(crate) fn fresh_text() -> Bytes {
    Bytes::from(Ulid::new().to_string())
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
}
