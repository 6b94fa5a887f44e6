//! Tables whose keys are hashes already.

use std::hash::{BuildHasherDefault, Hasher};

/// Makes a [`Prehashed`].
pub(super) type BuildPrehashed = BuildHasherDefault<Prehashed>;

/// Passes a key on that is a keyed hash already.
#[derive(Default)]
pub(super) struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
}
