use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use pointsman_catalog::{DatabaseName, Role};

use super::super::{report::RouteKey, route::RouteUsage};

/// Whether a sidecar's numbers are of now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Freshness {
    /// It reports; the numbers are at most a second old.
    Fresh,
    /// It has not reported for this long: the numbers are unknown.
    Silent(Duration),
}

/// The numbers of one sidecar, and their age.
#[derive(Clone, Debug)]
pub(crate) struct NodeUsage {
    pub(crate) freshness: Freshness,
    /// As last reported, also if that is long ago.
    pub(crate) routes: BTreeMap<RouteKey, RouteUsage>,
    /// Sessions and routes that were not counted because the limits of one sidecar were reached.
    pub(crate) left_out: u64,
}

/// The sessions that a sidecar had when it last reported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LastSessions {
    pub(crate) count: u64,
    /// Those of which it has told no endpoint, or that were not counted.
    pub(crate) untold: u64,
    /// The endpoint of each of the others, and the sidecar's own end.
    pub(crate) known: Vec<(SocketAddr, Option<SocketAddr>)>,
}

impl NodeUsage {
    /// Why the numbers are unknown; `None` while they are known.
    pub(crate) fn unknown(&self) -> Option<String> {
        match self.freshness {
            Freshness::Fresh => None,
            Freshness::Silent(silent) => {
                Some(format!("it has not reported for {} s", silent.as_secs()))
            }
        }
    }

    pub(crate) fn route(&self, database: &DatabaseName, role: Role) -> Option<&RouteUsage> {
        let database = database.clone();
        self.routes.get(&RouteKey { database, role })
    }
}
