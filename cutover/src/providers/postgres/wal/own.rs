//! What a proof does not count as a user's: the engine's own transactions, and those of the
//! reverse stream.

use std::collections::BTreeSet;

use super::{
    super::control_sessions::ControlSessions,
    look::{failed, ids},
};
use crate::ports::ProviderError;

/// What [`OWN`] returned.
#[derive(Debug)]
pub(super) struct Own {
    /// The engine's transactions, by the low 32 bits of their ids.
    pub(super) xids: BTreeSet<String>,
    /// The replication origins of the reverse stream, by `roident`.
    pub(super) origins: BTreeSet<u32>,
}

impl Own {
    /// The answer of [`OWN`].
    pub(super) fn parse(
        control: &ControlSessions,
        what: &str,
        answer: Option<&String>,
    ) -> Result<Self, ProviderError> {
        let parsed = answer.and_then(|answer| {
            let (xids, origins) = answer.split_once(';')?;
            let origins = ids(origins)?.into_iter().map(u32::try_from);
            Some(Self {
                xids: ids(xids)?.iter().map(low).collect(),
                origins: origins.collect::<Result<_, _>>().ok()?,
            })
        });
        parsed.ok_or_else(|| failed(&control.server.name, what, "its own ids cannot be read"))
    }
}

/// An id as WAL records name it.
pub(super) fn low(xid: &u64) -> String {
    (xid & u64::from(u32::MAX)).to_string()
}

/// The ids of the engine's transactions, a semicolon, and the origins of the reverse stream's
/// subscriptions. Another subscription's origin is a stranger's.
pub(super) const OWN: &str = "SELECT concat( \
       (SELECT string_agg(xmin::text, ',') FROM pointsman.transactions), ';', \
       (SELECT string_agg(DISTINCT o.roident::text, ',') FROM pg_replication_origin o \
          JOIN pg_stat_subscription s ON o.roname = 'pg_' || s.subid::text \
          WHERE s.subname = 'pointsman_rb'))";
