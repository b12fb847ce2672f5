//! What a program may have instead of this one's parts: a test's program has a store that fails.

use std::sync::Arc;

use pointsman_catalog::Store;

use crate::providers::{MoreProviders, no_more};

/// Puts something around the store that was opened.
pub type WrapStore = fn(Arc<dyn Store>) -> anyhow::Result<Arc<dyn Store>>;

/// The parts of a program that are chosen from outside.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Providers beside those that every program has.
    pub providers: MoreProviders,
    /// What is around the store; nothing in this program.
    pub store: WrapStore,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            providers: no_more,
            store: Ok,
        }
    }
}
