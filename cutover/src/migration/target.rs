//! What is known of the target once it is a primary.

use pointsman_catalog::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{
    Lsn,
    ports::{Armed, FormerSettings, Look, Marker, ReverseSlot},
};

/// A promotion that an API was asked for, or is about to be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AskedPromotion {
    pub at: UnixMillis,
    /// Up to where the target was seen to have replayed before: at the marker or behind it.
    pub replayed: Lsn,
}

/// How the target left recovery.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Promotion {
    /// Its timeline since.
    pub timeline: u32,
    /// Where its recovery ended.
    pub fork: Lsn,
}

/// What carries the target's writes back to the source.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReverseStream {
    pub slots: Vec<ReverseSlot>,
    /// The target's position right before it was opened.
    pub opened: Lsn,
    pub coverage: Coverage,
    /// What arming took from the source's roles.
    pub armed: Armed,
    /// Why it carries less than everything, where that is known.
    pub gap: Option<String>,
    /// Since this look at the source a rollback may have let superusers in there, and it was not
    /// proved to be closed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted: Option<Look>,
    /// The slots were given up for the target's disk: up to where the source had everything then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up_at: Option<Lsn>,
}

impl ReverseStream {
    /// A later arming finds roles without LOGIN already: what the first one took stays on record.
    pub(super) fn was_armed(&mut self, armed: Armed) {
        let known = &mut self.armed;
        for role in armed.nologin_roles {
            if !known.nologin_roles.contains(&role) {
                known.nologin_roles.push(role);
            }
        }
        known.still_admitted = armed.still_admitted;
    }

    /// The source is closed again; `gap` is what was written there meanwhile.
    pub(super) fn source_was_shut(&mut self, gap: Option<String>) {
        self.admitted = None;
        if gap.is_some() {
            self.coverage = Coverage::Incomplete;
            self.gap = gap;
        }
    }

    /// The slots will be dropped; the source has everything up to `delivered`.
    pub(super) fn slots_were_given_up(&mut self, why: String, delivered: Lsn) {
        self.coverage = Coverage::Incomplete;
        self.gap = Some(why);
        self.given_up_at = Some(delivered);
    }
}

/// Which writes of the target the slots hold.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// Every write since the promotion.
    Complete,
    /// Somebody wrote before the slots were made, they were given up, or there are none.
    Incomplete,
}

/// The target behind the fence of a rollback.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FencedTarget {
    pub former: FormerSettings,
    pub marker: Marker,
}
