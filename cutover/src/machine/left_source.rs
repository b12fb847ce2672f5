use serde::{Deserialize, Serialize};

/// What the watch of a bake has seen on the source that was left.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftSource {
    /// Nothing but the engine and the reverse stream, as far as it could be looked at.
    #[default]
    Quiet,
    /// Its fence was lifted, or somebody wrote on it. Going back is not lossless any more, and
    /// giving the source up is not either.
    Disturbed,
    /// An operator has given up what was or may have been done there. What is seen afterwards is
    /// not accepted.
    Accepted,
}
