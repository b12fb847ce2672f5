//! Whether the target of a bake answers, and what it last confirmed.

use pointsman_catalog::{ServerName, UnixMillis};

use super::moment::moment;
use crate::{
    Lsn,
    migration::Migration,
    steps::{Failure, Problem},
};

/// What looks at the target of a bake came to.
#[derive(Clone, Debug, Default)]
pub(super) struct TargetWatch {
    silence: Option<Silence>,
    confirmed: Option<Confirmed>,
}

/// A target that does not answer.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    pub(super) since: UnixMillis,
    pub(super) reason: String,
    /// How many looks in a row found it so.
    looks: u32,
}

/// Up to where the source had everything, by every slot of the reverse stream.
#[derive(Clone, Copy, Debug)]
struct Confirmed {
    lsn: Lsn,
    at: UnixMillis,
}

impl TargetWatch {
    /// The silence, once a look with a new session has found it too: a session can end alone.
    pub(super) fn silence(&self) -> Option<&Silence> {
        self.silence.as_ref().filter(|silence| silence.looks > 1)
    }

    /// What opening the source without the target would give up.
    pub(super) fn not_countable(&self, migration: &Migration) -> String {
        let (source, target) = (&migration.source, &migration.target);
        let confirmed = self.confirmed.map_or_else(
            || format!("what {source} has last confirmed is not known to this process"),
            |Confirmed { lsn, at }| format!("{source} last confirmed {lsn} at {}", moment(at)),
        );
        format!(
            "{confirmed}; what {target} acknowledged after that and is not on {source} cannot be counted"
        )
    }

    pub(super) fn answers(&mut self) {
        self.silence = None;
    }

    pub(super) fn has_confirmed(&mut self, lsn: Lsn, at: UnixMillis) {
        self.confirmed = Some(Confirmed { lsn, at });
    }

    /// A failure of another server's says nothing of this one.
    pub(super) fn failed(&mut self, target: &ServerName, failure: &Failure, at: UnixMillis) {
        if failure.server.as_ref() != Some(target) {
            return;
        }
        if failure.problem != Problem::Unanswered {
            self.answers();
            return;
        }
        let former = self.silence.take();
        self.silence = Some(Silence {
            since: former.as_ref().map_or(at, |former| former.since),
            reason: failure.message.clone(),
            looks: former.map_or(1, |former| former.looks.saturating_add(1)),
        });
    }
}
