//! Fresh ids for requests.

use bytes::Bytes;
use ulid::Ulid;

use crate::dialect::IdFormat;

/// An id that no other request has, and that nobody can guess: 80 random bits behind the time. (The
/// monotonic generator is not used: its next value can be guessed from the last.)
pub(super) fn fresh(format: IdFormat) -> Bytes {
    let ulid = Ulid::new();
    match format {
        IdFormat::Ulid => Bytes::copy_from_slice(&ulid.to_bytes()),
        IdFormat::UlidText => Bytes::from(ulid.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_have_their_format_and_differ_in_their_random_part() {
        assert_eq!(fresh(IdFormat::UlidText).len(), 26);
        let random: HashSet<_> =
            (0..1000).map(|_| fresh(IdFormat::Ulid)).map(|id| id.slice(6..16)).collect();
        assert_eq!(random.len(), 1000);
    }
}
