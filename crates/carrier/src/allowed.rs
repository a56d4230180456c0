//! The live list of clients that may attach.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use crate::PublicKey;

/// The keys of the clients that the server lets in. Clones share one list, and a change holds from
/// the next handshake on. Conduits that exist are not touched: whoever removes a key closes them.
#[derive(Debug, Clone, Default)]
pub struct AllowedKeys(Arc<RwLock<BTreeSet<PublicKey>>>);

impl AllowedKeys {
    /// A list with these keys in it.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self(Arc::new(RwLock::new(keys.into_iter().collect())))
    }

    /// Makes these keys the whole list.
    pub fn replace(&self, keys: impl IntoIterator<Item = PublicKey>) {
        let keys = keys.into_iter().collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Whether this key may attach now.
    #[must_use]
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(key)
    }
}
