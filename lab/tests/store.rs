//! The fault-injecting store: without a fault it is a store like any other, and each fault does what it says.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "store/faults.rs"]
mod faults;
// The contract belongs to the port, and the port to the catalogue.
#[path = "../../catalog/tests/behaviour/store_suite.rs"]
mod store_suite;

use std::sync::Arc;

use pointsman_catalog::{Store, store::EmbeddedStore};
use pointsman_lab::store::FaultInjectingStore;
use tempfile::TempDir;

fn embedded() -> (Arc<dyn Store>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (
        Arc::new(EmbeddedStore::create(folder.path()).unwrap()),
        folder,
    )
}

mod contract {
    use super::{Arc, FaultInjectingStore, Store, TempDir, embedded, store_suite::store_suite};

    fn fresh() -> (Arc<dyn Store>, TempDir) {
        let (inner, folder) = embedded();
        (Arc::new(FaultInjectingStore::new(inner)), folder)
    }

    store_suite!(fresh());
}
