//! Whether the target of a bake answers, and what it last confirmed.

use pointsman_catalog::{ServerName, UnixMillis};

use crate::{
    Lsn,
    steps::{Failure, Problem},
};

/// What looks at the target of a bake came to.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct TargetWatch {
    silence: Option<Silence>,
    confirmed: Option<Confirmed>,
}

/// A target that does not answer.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Silence {
    pub(in crate::engine) since: UnixMillis,
    pub(in crate::engine) reason: String,
    /// How many looks in a row found it so.
    looks: u32,
}

/// Up to where the source had everything, by every slot of the reverse stream.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Confirmed {
    pub(in crate::engine) lsn: Lsn,
    pub(in crate::engine) at: UnixMillis,
}

impl TargetWatch {
    /// The silence, once a look with a new session has found it too: a session can end alone.
    pub(in crate::engine) fn silence(&self) -> Option<&Silence> {
        self.silence.as_ref().filter(|silence| silence.looks > 1)
    }

    pub(in crate::engine) fn confirmed(&self) -> Option<Confirmed> {
        self.confirmed
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
