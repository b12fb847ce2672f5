use serde::{Deserialize, Serialize};

/// Which way a switch goes. A rollback is the same machine, backward.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the source to the target.
    Forward,
    /// From the promoted target back to the source.
    Reverse,
}

/// One of the two servers of a migration. Its role stays its name in both directions.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The writer before the migration.
    Source,
    /// The standby that becomes the writer.
    Target,
}

impl Direction {
    /// The direction's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }

    /// The side that a switch in this direction takes the writers away from.
    pub fn leaves(self) -> Side {
        match self {
            Self::Forward => Side::Source,
            Self::Reverse => Side::Target,
        }
    }
}

impl Side {
    /// The side's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}
