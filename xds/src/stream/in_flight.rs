use std::{collections::BTreeSet, sync::Arc};

use crate::resource::{Resource, Version};

/// The last response, until the client answers it.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Shared with the response.
    pub(super) resources: Arc<[Resource]>,
    /// Names that the response declares as removed or absent.
    pub(super) removed: Box<[Arc<str>]>,
    /// Names for which an ACK no longer counts: the client forgets them in the meantime.
    pub(super) voided: BTreeSet<Arc<str>>,
    /// The version of the response's content.
    pub(super) version: Version,
    /// Whether something else must be sent after it.
    pub(super) incomplete: bool,
    /// Whether the client has not answered in time.
    pub(super) overdue: bool,
    /// Whether it renews TTLs only. Neither an ACK nor a NACK of it says anything about content.
    pub(super) heartbeat: bool,
}

impl InFlight {
    pub(super) fn heartbeat() -> Self {
        Self {
            resources: Arc::default(),
            removed: Box::default(),
            voided: BTreeSet::new(),
            version: Version::EMPTY,
            incomplete: false,
            overdue: false,
            heartbeat: true,
        }
    }
}
