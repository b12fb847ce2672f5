//! Which databases sidecars park connections for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
    time::Duration,
};

use pointsman_catalog::{DatabaseName, Route, Routes};
use tokio::time::Instant;

use super::Publisher;

/// Databases in a hold, and when those of before came out of it.
#[derive(Debug, Default)]
pub(super) struct Holds {
    held: BTreeSet<DatabaseName>,
    released: BTreeMap<DatabaseName, Instant>,
}

impl Publisher {
    /// Whether sidecars retry connections to `database` because of a hold, or did a moment ago:
    /// what they report comes late.
    pub(crate) fn holds(&self, database: &DatabaseName) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Holds { held, released } = &known.holds;
        held.contains(database)
            || released
                .get(database)
                .is_some_and(|at| at.elapsed() < REPORTED_LATE)
    }

    pub(super) fn note_holds(&self, routes: &BTreeMap<DatabaseName, Routes>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (name, routes) in routes {
            let held = [&routes.writer, &routes.reader]
                .iter()
                .any(|route| matches!(route, Route::Hold { .. }));
            known.holds.note(name, held);
        }
    }
}

impl Holds {
    fn note(&mut self, database: &DatabaseName, held: bool) {
        if held {
            self.held.insert(database.clone());
        } else if self.held.remove(database) {
            self.released.insert(database.clone(), Instant::now());
        }
    }
}

/// Two flushes of a sidecar's statistics.
const REPORTED_LATE: Duration = Duration::from_secs(1);
