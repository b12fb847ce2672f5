use std::time::Duration;

use tokio::time::Instant;

/// How long barriers await a node that nobody registered, after its last stream has ended. Open
/// streams hold the lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lease {
    /// After its connection was closed. A client that still runs is back at once, so this is as long as
    /// reconnecting may take.
    pub closed: Duration,
    /// After its connection was given up because nothing was heard of the client. It may still run.
    pub silent: Duration,
}

/// The state of a node's lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseStatus {
    /// When it ends; `None` while a stream holds it.
    pub ends: Option<Instant>,
    /// Nothing was heard of the client when its last stream ended: nobody knows whether it still runs.
    pub silent: bool,
}

/// A lease that was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenLease {
    terms: Lease,
    pub(crate) status: LeaseStatus,
}

impl GivenLease {
    /// A lease that a stream holds.
    pub(crate) const fn held(terms: Lease) -> Self {
        let status = LeaseStatus {
            ends: None,
            silent: false,
        };
        Self { terms, status }
    }

    /// The last stream has ended. Returns when the lease ends.
    pub(crate) fn begin_to_end(&mut self, silent: bool, now: Instant) -> Instant {
        let time = match silent {
            true => self.terms.silent,
            false => self.terms.closed,
        };
        let ends = now + time;
        self.status = LeaseStatus {
            ends: Some(ends),
            silent,
        };
        ends
    }
}
