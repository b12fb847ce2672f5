//! Whether a write that the target acknowledges in a bake is on the source too.

use pointsman_catalog::UnixMillis;

use crate::{engine::moment::moment, migration::Migration};

/// What is promised of commits on the target.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) enum Durability {
    /// This process has not looked yet.
    #[default]
    NotLooked,
    /// Each that is acknowledged is on the source.
    Promised {
        since: UnixMillis,
    },
    Not {
        since: UnixMillis,
        why: String,
    },
}

impl Durability {
    pub(in crate::engine) fn is_promised(&self) -> bool {
        matches!(self, Self::Promised { .. })
    }

    /// What it means for a target that dies, where the migration asks for it.
    pub(super) fn promise(&self, migration: &Migration) -> Option<String> {
        let Self::Promised { since } = self else {
            return None;
        };
        let Migration { source, target, .. } = migration;
        Some(format!(
            "durable since {}: each commit on {target} is acknowledged once it is on {source}, as far as the \
             session has not chosen less by synchronous_commit",
            moment(*since)
        ))
    }

    /// Why nothing is promised that the operator asked for.
    pub(super) fn warning(&self, migration: &Migration) -> Option<String> {
        let Migration { source, target, .. } = migration;
        match self {
            Self::Not { since, why } => Some(format!(
                "the way back is not durable since {}: {why}; what {target} acknowledges meanwhile may not be on \
                 {source}; it is tried again by itself",
                moment(*since)
            )),
            Self::NotLooked | Self::Promised { .. } => None,
        }
    }
}
