//! A copy of a few bytes that costs one allocation, however often it is cloned.

use bytes::Bytes;

/// Every id that a dialect makes fits, and most that others make.
const FITS: usize = 31;

struct Short {
    length: u8,
    bytes: [u8; FITS],
}

impl AsRef<[u8]> for Short {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Copies `data`. An ordinary copy would need a second allocation for its first clone.
pub(crate) fn copy_of(data: &[u8]) -> Bytes {
    let mut bytes = [0; FITS];
    match (bytes.get_mut(..data.len()), u8::try_from(data.len())) {
        (Some(place), Ok(length)) => {
            place.copy_from_slice(data);
            Bytes::from_owner(Short { length, bytes })
        }
        _ => Bytes::copy_from_slice(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_copied() {
        let data: Vec<u8> = (0..=255).collect();
        for length in 0..data.len() {
            assert_eq!(copy_of(&data[..length]), data[..length]);
        }
    }
}
