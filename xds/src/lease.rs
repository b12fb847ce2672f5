use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

/// How long barriers await a node that nobody registered, after its last stream has ended. Open
/// streams hold the lease.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// Nodes with equal names may lose their way to this server together, as those of one deployment do. When
    /// the connections of many of them are closed within [`Lease::closed`], each of those has
    /// [`Lease::silent`].
    pub cohort: Arc<str>,
    /// After its connection was closed. A client that still runs is back at once, so this is as long as
    /// reconnecting may take.
    pub closed: Duration,
    /// After its connection was given up because nothing was heard of the client. It may still run.
    pub silent: Duration,
    /// Of a node that was connected to a former process: as long as it may take to find this one. When more
    /// than half of the cohort is missing then, those that are missing have [`Lease::silent`].
    pub restored: Duration,
}

/// The state of a node's lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseStatus {
    /// When it ends. `None` while a stream holds it, and after [`crate::Fleet::keep_lease`].
    pub ends: Option<Instant>,
    /// Why no stream holds it; `None` while one does.
    pub absence: Option<Absence>,
}

/// Why a node with a lease has no stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Absence {
    /// Its connection was closed: it has ended, or is about to come back.
    Closed,
    /// Its connection was closed, and those of many others of its cohort at about the same time. Something on
    /// their way may have done that, so nobody knows whether they still run.
    ClosedWithOthers,
    /// Nothing was heard of the client: nobody knows whether it still runs.
    Silent,
    /// It was connected to a former process, and has not come to this one yet.
    Restored,
}

/// A lease that was given.
#[derive(Clone, Debug)]
pub(crate) struct GivenLease {
    pub(crate) terms: Lease,
    pub(crate) status: LeaseStatus,
    /// When the last stream ended; at first, when the lease was given.
    pub(crate) since: Instant,
}

impl LeaseStatus {
    /// Whether it ends only with a new stream, or when somebody gives the node up.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.absence.is_some() && self.ends.is_none()
    }
}

impl GivenLease {
    /// A lease that a stream holds.
    pub(crate) const fn held(terms: Lease, now: Instant) -> Self {
        let status = LeaseStatus {
            ends: None,
            absence: None,
        };
        Self {
            terms,
            status,
            since: now,
        }
    }

    /// The last stream has ended. Returns when the lease ends.
    pub(crate) fn begin_to_end(&mut self, absence: Absence, now: Instant) -> Instant {
        self.since = now;
        let time = match absence {
            Absence::Closed => self.terms.closed,
            Absence::Silent | Absence::ClosedWithOthers => self.terms.silent,
            Absence::Restored => self.terms.restored,
        };
        self.end_at(absence, now + time)
    }

    /// Lets it end only with a new stream, or when somebody gives the node up. Returns whether that changes
    /// anything.
    pub(crate) fn keep(&mut self) -> bool {
        self.status.absence.is_some() && self.status.ends.take().is_some()
    }

    /// Lets a kept lease end as if it had not been kept. Returns when, if it was kept.
    pub(crate) fn release(&mut self) -> Option<Instant> {
        let absence = self.status.absence.filter(|_| self.status.is_kept())?;
        Some(self.begin_to_end(absence, self.since))
    }

    /// Gives it the time of a node that has gone silent when its stream ended. Returns when it ends then;
    /// `None` if it is kept.
    pub(crate) fn prolong(&mut self) -> Option<Instant> {
        let kept = self.status.is_kept();
        let absence = match self.status.absence {
            Some(Absence::Closed) | None => Absence::ClosedWithOthers,
            Some(other) => other,
        };
        let ends = self.end_at(absence, self.since + self.terms.silent);
        if kept {
            self.status.ends = None;
        }
        (!kept).then_some(ends)
    }

    fn end_at(&mut self, absence: Absence, ends: Instant) -> Instant {
        self.status = LeaseStatus {
            ends: Some(ends),
            absence: Some(absence),
        };
        ends
    }
}
