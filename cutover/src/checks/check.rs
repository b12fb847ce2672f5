use pointsman_catalog::UnixMillis;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{CheckContext, Finding, Outcome, Severity};

/// What a check is, apart from what it finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) slug: &'static str,
    severity: Severity,
    /// It guards only the way back, which an operator may give up.
    lossless: bool,
}

/// What the rows of one check say, whatever its severity is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judgement {
    pub(super) result: Judged,
    pub(super) says: String,
    pub(super) fix: String,
    pub(super) evidence: Vec<Value>,
}

/// How rows were judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Judged {
    Pass,
    /// Worth saying, whatever the check's severity is.
    Warn,
    /// As grave as the check's severity.
    Fail,
}

impl Check {
    pub(super) const fn block(id: &'static str, slug: &'static str) -> Self {
        Self {
            id,
            slug,
            severity: Severity::Block,
            lossless: false,
        }
    }

    pub(super) const fn warn(id: &'static str, slug: &'static str) -> Self {
        Self {
            severity: Severity::Warn,
            ..Self::block(id, slug)
        }
    }

    /// Blocks unless the operator gives up the lossless way back.
    pub(super) const fn lossless(id: &'static str, slug: &'static str) -> Self {
        Self {
            lossless: true,
            ..Self::block(id, slug)
        }
    }

    /// The finding at `location`, or `Unknown` with the reason why there is no judgement.
    pub(super) fn finding(
        self,
        ctx: &CheckContext<'_>,
        location: impl Into<String>,
        began: Instant,
        judgement: Result<Judgement, String>,
    ) -> Finding {
        let severity = if self.lossless && ctx.accept_loss {
            Severity::Warn
        } else {
            self.severity
        };
        let (result, judgement) = match judgement {
            Ok(judgement) => (judgement.result.outcome(severity), judgement),
            Err(words) => (Outcome::Unknown, unread(words)),
        };
        Finding {
            id: self.id.to_owned(),
            slug: self.slug.to_owned(),
            severity,
            result,
            location: location.into(),
            evidence: bounded(judgement.evidence),
            says: judgement.says,
            fix: judgement.fix,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            at: UnixMillis::now(),
        }
    }
}

impl Judged {
    fn outcome(self, severity: Severity) -> Outcome {
        match (self, severity) {
            (Self::Pass, _) => Outcome::Pass,
            (Self::Warn, _) | (Self::Fail, Severity::Warn) => Outcome::Warn,
            (Self::Fail, Severity::Block) => Outcome::Block,
        }
    }
}

impl Judgement {
    pub(super) fn pass(says: impl Into<String>) -> Self {
        Self {
            result: Judged::Pass,
            says: says.into(),
            fix: String::new(),
            evidence: Vec::new(),
        }
    }

    pub(super) fn warn(says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            result: Judged::Warn,
            says: says.into(),
            fix: fix.into(),
            evidence: Vec::new(),
        }
    }

    pub(super) fn fail(says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            result: Judged::Fail,
            ..Self::warn(says, fix)
        }
    }

    /// Adds one value per object.
    pub(super) fn with<R: Serialize>(mut self, rows: &[R]) -> Self {
        let values = rows.iter().filter_map(|row| serde_json::to_value(row).ok());
        self.evidence.extend(values);
        self
    }
}

/// A report is kept, sent and shown; a schema may have any number of tables.
fn bounded(mut evidence: Vec<Value>) -> Vec<Value> {
    let more = evidence.len().saturating_sub(MAX_EVIDENCE);
    if more > 0 {
        evidence.truncate(MAX_EVIDENCE);
        evidence.push(json!({ "left_out": more }));
    }
    evidence
}

fn unread(words: String) -> Judgement {
    Judgement::fail(
        format!("nobody can say: {words}"),
        "make it readable and run the preflight again: what is unknown does not pass",
    )
}

/// `1 table`, `3 tables`.
pub(super) fn count(n: usize, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        _ => format!("{n} {noun}s"),
    }
}

const MAX_EVIDENCE: usize = 1000;

/// Rows as a server gives them, for tests.
#[cfg(test)]
pub(super) fn rows<R: serde::de::DeserializeOwned>(rows: Value) -> Vec<R> {
    serde_json::from_value(rows).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_bounded_and_says_what_it_left_out() {
        let short = vec![json!(1); MAX_EVIDENCE];
        assert_eq!(bounded(short.clone()), short);
        let long = bounded(vec![json!(1); MAX_EVIDENCE + 7]);
        assert_eq!(long.len(), MAX_EVIDENCE + 1);
        assert_eq!(long.last(), Some(&json!({ "left_out": 7 })));
    }
}
