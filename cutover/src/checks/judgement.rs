use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::report::{Outcome, Severity};

/// The result of a check, before its severity is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub(crate) grade: Grade,
    /// What was found, in one line.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) remedy: String,
    /// One value per object.
    pub(crate) evidence: Vec<Value>,
}

/// How good or bad it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grade {
    Pass,
    /// A warning, also for a check that blocks.
    Warn,
    /// As grave as the check's severity.
    Fail,
    /// It could not be judged.
    Unknown,
}

impl Judgement {
    pub fn pass(message: impl Into<String>) -> Self {
        Self {
            grade: Grade::Pass,
            message: message.into(),
            remedy: String::new(),
            evidence: Vec::new(),
        }
    }

    /// Warns, also where the check's severity is a block.
    pub fn warn(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            grade: Grade::Warn,
            message: message.into(),
            remedy: remedy.into(),
            evidence: Vec::new(),
        }
    }

    /// Fails: blocks or warns, as the check's severity has it.
    pub fn fail(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            grade: Grade::Fail,
            ..Self::warn(message, remedy)
        }
    }

    /// Nothing could be judged, because of `reason`.
    pub fn unknown(reason: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self {
            grade: Grade::Unknown,
            ..Self::warn(format!("unknown: {reason}"), remedy)
        }
    }

    /// Adds one value per object to the evidence.
    #[must_use]
    pub fn with<R: Serialize>(mut self, objects: &[R]) -> Self {
        let values = objects.iter().map(serde_json::to_value);
        self.evidence.extend(values.filter_map(Result::ok));
        self
    }
}

impl Grade {
    pub(super) fn outcome(self, severity: Severity) -> Outcome {
        match (self, severity) {
            (Self::Unknown, _) => Outcome::Unknown,
            (Self::Pass, _) => Outcome::Pass,
            (Self::Warn, _) | (Self::Fail, Severity::Warn) => Outcome::Warn,
            (Self::Fail, Severity::Block) => Outcome::Block,
        }
    }
}

/// `1 table`, `3 tables`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        _ => format!("{n} {noun}s"),
    }
}
