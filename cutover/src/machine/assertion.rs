use serde::{Deserialize, Serialize};

/// What an operator accepted or asserted. It holds for the one attempt that it was said for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Assertion {
    /// What the reverse stream does not deliver may be lost.
    LossAccepted,
    /// The source is down for good.
    SourceDown,
    /// The target is down for good.
    TargetDown,
}
