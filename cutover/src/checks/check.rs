use std::fmt;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    CheckContext, Judgement,
    report::{Finding, Severity},
};
use crate::ports::Monotonic;

/// Something that must hold before a switch. A check reads and judges; it changes nothing.
///
/// A check implements the methods for the places where it looks. Each method gives one
/// finding per place; the objects that it found there are the finding's evidence.
#[async_trait]
pub trait Check: fmt::Debug + Send + Sync {
    fn spec(&self) -> CheckSpec;

    /// Looks once per preflight: at the fleet, the catalogue, or the servers as a whole.
    async fn once(&self, _ctx: &CheckContext<'_>) -> Vec<Finding> {
        Vec::new()
    }

    /// Looks into `datname` on the source, a database that moves.
    async fn in_database(&self, _ctx: &CheckContext<'_>, _datname: &str) -> Vec<Finding> {
        Vec::new()
    }

    /// Looks into `datname` on the source, a database that stays closed until completion. It
    /// is promoted like the others: the target has the only copy that is kept.
    async fn in_closed_database(&self, _ctx: &CheckContext<'_>, _datname: &str) -> Vec<Finding> {
        Vec::new()
    }
}

/// What a check is, apart from what it finds.
#[derive(Clone, Copy, Debug)]
pub struct CheckSpec {
    /// Stable, such as `C56`.
    pub id: &'static str,
    /// What the check is about, such as `reverse.replica-identity`.
    pub slug: &'static str,
    severity: Severity,
    /// It guards only the way back, which an operator may give up.
    way_back_only: bool,
}

impl CheckSpec {
    /// A failure forbids the switch.
    pub const fn block(id: &'static str, slug: &'static str) -> Self {
        Self {
            id,
            slug,
            severity: Severity::Block,
            way_back_only: false,
        }
    }

    /// A failure is recorded and shown.
    pub const fn warn(id: &'static str, slug: &'static str) -> Self {
        Self {
            severity: Severity::Warn,
            ..Self::block(id, slug)
        }
    }

    /// A failure forbids the switch, unless the operator gives up the lossless way back.
    pub const fn block_for_way_back(id: &'static str, slug: &'static str) -> Self {
        Self {
            way_back_only: true,
            ..Self::block(id, slug)
        }
    }

    /// The finding at `location`. `judgement` is an error where nothing could be judged; the
    /// finding is [`Outcome::Unknown`](super::Outcome::Unknown) then, for the reason that the error gives.
    pub fn finding(
        self,
        ctx: &CheckContext<'_>,
        location: impl Into<String>,
        began: Monotonic,
        judgement: Result<Judgement, String>,
    ) -> Finding {
        let took = ctx.clock.elapsed(began);
        let severity = if self.way_back_only && ctx.accept_loss {
            Severity::Warn
        } else {
            self.severity
        };
        let judgement = judgement.unwrap_or_else(|reason| Judgement::unknown(reason, UNREADABLE));
        Finding {
            id: self.id.to_owned(),
            slug: self.slug.to_owned(),
            severity,
            result: judgement.grade.outcome(severity),
            location: location.into(),
            evidence: bounded(judgement.evidence),
            message: judgement.message,
            remedy: judgement.remedy,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            at: ctx.clock.now(),
        }
    }

    /// Reports list checks by letter and number; an id without a number comes first.
    pub(super) fn rank(&self) -> (bool, &'static str, u32) {
        let digits = self.id.find(|c: char| c.is_ascii_digit());
        let (letters, number) = self.id.split_at(digits.unwrap_or(self.id.len()));
        let number = number.parse().unwrap_or(0);
        (digits.is_some(), letters, number)
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

const UNREADABLE: &str =
    "make it readable and run the preflight again: what is unknown does not pass";
const MAX_EVIDENCE: usize = 1000;

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

    #[test]
    fn checks_are_listed_by_letter_and_number() {
        let mut ids = ["S10", "C85", "S9", "ID", "C9", "C60"];
        ids.sort_by_key(|id| CheckSpec::block(id, "a.check").rank());
        assert_eq!(ids, ["ID", "C9", "C60", "C85", "S9", "S10"]);
    }
}
