use std::fmt;

use serde::{Deserialize, Serialize};

/// What came of one mutant.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Judgement {
    /// The mutant's.
    pub(crate) name: String,
    pub(crate) fate: Fate,
    /// Who noticed it.
    pub(crate) by: Option<Judge>,
    /// The first test that failed, the promise that broke, or why it cannot be built.
    pub(crate) said: String,
    pub(crate) seconds: f64,
}

/// Whether a mutant was noticed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    Caught,
    /// It did not come to an end.
    Timeout,
    /// It cannot be built, so it is nothing that anybody could ship.
    Unviable,
    Survived,
}

/// Who looks for a mutant, in this order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Judge {
    /// The unit tests of `cutover`.
    Units,
    /// 200 seeds of the simulation.
    Simulation,
    /// The proofs' tests on real PostgreSQL servers: the simulation has servers of its own.
    Servers,
}

impl Judge {
    /// Who judges every mutant.
    pub(crate) fn first(_file: &str) -> Self {
        Self::Units
    }

    /// Who judges those mutants of `file` that are left.
    pub(crate) fn after(file: &str) -> Self {
        if file.starts_with("cutover/src/providers/") {
            Self::Servers
        } else {
            Self::Simulation
        }
    }

    /// Its name.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Units => "unit tests",
            Self::Simulation => "the simulation",
            Self::Servers => "real servers",
        }
    }
}

/// `caught 0 s NAME: what found it`
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fate = self.fate.label();
        write!(f, "{fate:8} {:3.0} s {}", self.seconds, self.name)?;
        if !self.said.is_empty() {
            write!(f, ": {}", self.said)?;
        }
        Ok(())
    }
}

impl Fate {
    /// The fate, as it is printed.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Timeout => "timeout",
            Self::Unviable => "unviable",
            Self::Survived => "SURVIVED",
        }
    }
}
