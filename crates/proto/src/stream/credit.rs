//! The memory that receivers of one process may promise beyond every stream's initial limit.
//!
//! Credit is given by the receiver as limit minus what its application has taken; the sum of it is
//! what the other modules could fill. A window grows only while there is something left here, so the
//! memory of a process is bounded however many clients want to be fast.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::INITIAL_LIMIT;

/// Shared by all sessions of a process; clones are handles of the same pool.
#[derive(Clone, Debug)]
pub struct CreditPool {
    left: Arc<AtomicU64>,
    initial_limit: u32,
}

/// A session is not what it is because of what its process has left.
impl Hash for CreditPool {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

/// What the windows of all streams of a process may grow to together, in bytes.
const PROCESS_CREDIT: u64 = 512 * 1024 * 1024;

impl Default for CreditPool {
    fn default() -> Self {
        Self::new(PROCESS_CREDIT)
    }
}

impl CreditPool {
    /// A pool of `bytes`, out of which every stream begins with [`INITIAL_LIMIT`].
    pub fn new(bytes: u64) -> Self {
        Self::with_initial_limit(bytes, INITIAL_LIMIT)
    }

    /// A pool of `bytes`, out of which every stream begins with `initial_limit` bytes.
    pub fn with_initial_limit(bytes: u64, initial_limit: u32) -> Self {
        Self {
            left: Arc::new(AtomicU64::new(bytes)),
            initial_limit,
        }
    }

    /// The credit that every stream begins with, in bytes.
    pub const fn initial_limit(&self) -> u32 {
        self.initial_limit
    }

    /// What may still be taken, in bytes.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if they are there.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            })
            .is_ok()
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}
