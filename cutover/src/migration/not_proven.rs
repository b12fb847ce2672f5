use std::fmt;

use pointsman_catalog::ServerName;
use serde::{Deserialize, Serialize};

use crate::ports::Strangers;

/// Transactions behind a fence that were found when the switch could only go on. Their ids do
/// not say what they wrote, so that nothing is lost by going back is not proven.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NotProven {
    pub server: ServerName,
    pub strangers: Strangers,
}

impl fmt::Display for NotProven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, strangers } = self;
        write!(
            f,
            "{strangers} behind the fence of {server}: not the engine's, and an id does not say \
             what was written"
        )
    }
}
