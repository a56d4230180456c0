//! Bytes counted and hashed as they pass.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context as Hash, SHA256};

/// Some bytes: how many, and their SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) bytes: u64,
    sha256: Vec<u8>,
}

impl Figure {
    /// The beginning of the hash: enough for an eye. They are compared whole.
    pub(super) fn short_hash(&self, bytes: usize) -> String {
        let shown = self.sha256.iter().take(bytes);
        shown.map(|byte| format!("{byte:02x}")).collect::<String>() + "…"
    }

    #[cfg(test)]
    pub(super) fn of(bytes: &[u8]) -> Self {
        let tally = Tally::default();
        tally.add(bytes);
        tally.figure()
    }
}

impl fmt::Debug for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, SHA-256 {:02x?}", self.bytes, self.sha256)
    }
}

/// Bytes that pass: a count and a running hash. May be read while bytes are added.
pub(super) struct Tally(Mutex<(u64, Hash)>);

impl Default for Tally {
    fn default() -> Self {
        Self(Mutex::new((0, Hash::new(&SHA256))))
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tally").field(&self.figure()).finish()
    }
}

impl Tally {
    /// Counts and hashes `bytes`, which come next.
    pub(super) fn add(&self, bytes: &[u8]) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tally.0 += bytes.len() as u64;
        tally.1.update(bytes);
    }

    /// What has passed so far.
    pub(super) fn figure(&self) -> Figure {
        let (bytes, hash) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let sha256 = hash.finish().as_ref().to_vec();
        Figure { bytes, sha256 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_published_one() {
        assert_eq!(Figure::of(b"abc").short_hash(8), "ba7816bf8f01cfea…");
    }
}
