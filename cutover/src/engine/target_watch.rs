//! Whether the target of a bake answers, and what it last confirmed.

use pointsman_catalog::{ServerName, UnixMillis};

use super::moment::moment;
use crate::{Lsn, migration::Migration, steps::Failure};

/// What looks at the target of a bake came to.
#[derive(Clone, Debug, Default)]
pub(super) struct TargetWatch {
    silence: Option<Silence>,
    confirmed: Option<Confirmed>,
    /// Why nobody is held although it is silent.
    not_held: Option<String>,
}

/// A target that does not answer.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    pub(super) since: UnixMillis,
    pub(super) reason: String,
    /// It says itself that it lets nobody in now.
    pub(super) is_starting: bool,
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
    /// As the record has it, before this process has looked.
    pub(super) fn on_record(migration: &Migration) -> Self {
        let silence = migration.machine.held_since().map(|since| Silence {
            since,
            reason: "it served nobody when it was last looked at".to_owned(),
            is_starting: false,
            looks: CERTAIN,
        });
        // It may have been cut off before that.
        let not_held = silence
            .as_ref()
            .map(|_| "whether the hold was published is not known yet".to_owned());
        Self {
            silence,
            not_held,
            ..Self::default()
        }
    }

    /// The silence, once a look with a new session has found it too: a session can end alone.
    pub(super) fn silence(&self) -> Option<&Silence> {
        self.silence
            .as_ref()
            .filter(|silence| silence.looks >= CERTAIN)
    }

    /// Whether the newest look found it silent.
    pub(super) fn is_suspect(&self) -> bool {
        self.silence.is_some()
    }

    /// Why nobody is held although it is silent.
    pub(super) fn not_held(&self) -> Option<&str> {
        self.not_held.as_deref()
    }

    pub(super) fn holds_nobody(&mut self, why: Option<String>) {
        self.not_held = why;
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
        self.not_held = None;
    }

    pub(super) fn has_confirmed(&mut self, lsn: Lsn, at: UnixMillis) {
        self.confirmed = Some(Confirmed { lsn, at });
    }

    /// A failure of another server's says nothing of this one.
    pub(super) fn failed(&mut self, target: &ServerName, failure: &Failure, at: UnixMillis) {
        if failure.server.as_ref() != Some(target) {
            return;
        }
        if !failure.is_unanswered() {
            self.answers();
            return;
        }
        let former = self.silence.take();
        self.silence = Some(Silence {
            since: former.as_ref().map_or(at, |former| former.since),
            reason: failure.message.clone(),
            is_starting: failure.is_starting(),
            looks: former.map_or(1, |former| former.looks.saturating_add(1)),
        });
    }
}

/// A session can end alone, so one look is not enough.
const CERTAIN: u32 = 2;
