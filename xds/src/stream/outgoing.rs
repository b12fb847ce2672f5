use std::sync::Arc;

use crate::resource::{Resource, Version};

/// The content of the next response of one type.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) resources: Vec<Resource>,
    pub(super) removed: Vec<Arc<str>>,
    pub(super) absent: Vec<Arc<str>>,
    /// Those of `resources` that the client does not have in this version; `None` stands for all.
    pub(super) changed: Option<Vec<Resource>>,
    /// Whether another response must follow.
    pub(super) incomplete: bool,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty() && self.absent.is_empty()
    }
}

/// What one type has to send in one step of the order.
#[derive(Debug)]
pub(super) enum Taken {
    Nothing,
    /// Content must be sent, after other types are acknowledged.
    Blocked,
    Send {
        outgoing: Outgoing,
        version: Version,
    },
}
