use pointsman_catalog::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::context::Moment;

/// The result of one preflight.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    pub at: UnixMillis,
    pub moment: Moment,
    pub findings: Vec<Finding>,
}

/// What one check found at one place.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Finding {
    /// Stable, such as `C56`.
    pub id: String,
    /// What the check is about, such as `reverse.replica-identity`.
    pub slug: String,
    /// What a failure means here and now.
    pub severity: Severity,
    pub result: Outcome,
    /// `source`, `target`, `source/DATNAME` or `fleet`.
    pub location: String,
    /// One value per object, at most a thousand.
    pub evidence: Vec<Value>,
    /// What was found, in one line.
    pub message: String,
    /// What to do about it; empty when there is nothing to do.
    pub remedy: String,
    pub took_ms: u64,
    pub at: UnixMillis,
}

/// What the failure of a check means.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// No switch.
    Block,
    /// Recorded and shown; the switch goes on.
    Warn,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Pass,
    Warn,
    /// It could not be read; counts as the severity.
    Unknown,
    Block,
}

/// All findings together: the worst of them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    Warnings,
    Blocked,
}

impl Report {
    /// The worst result of any finding.
    pub fn verdict(&self) -> Verdict {
        if self.blocking().next().is_some() {
            return Verdict::Blocked;
        }
        if self.findings.iter().any(Finding::fails) {
            return Verdict::Warnings;
        }
        Verdict::Pass
    }

    /// The findings that forbid a switch.
    pub fn blocking(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.blocks())
    }
}

impl Verdict {
    /// The exit code of a preflight: 0 all pass, 2 warnings only, 3 at least one block.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Warnings => 2,
            Self::Blocked => 3,
        }
    }
}

impl Finding {
    /// Whether it forbids a switch.
    pub fn blocks(&self) -> bool {
        match self.result {
            Outcome::Block => true,
            Outcome::Unknown => self.severity == Severity::Block,
            Outcome::Pass | Outcome::Warn => false,
        }
    }

    /// Whether there is anything to say about it.
    pub fn fails(&self) -> bool {
        match self.result {
            Outcome::Warn | Outcome::Unknown | Outcome::Block => true,
            Outcome::Pass => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &str, severity: Severity, result: Outcome, location: &str) -> Finding {
        Finding {
            id: id.to_owned(),
            slug: "a.check".to_owned(),
            severity,
            result,
            location: location.to_owned(),
            evidence: Vec::new(),
            message: String::new(),
            remedy: String::new(),
            took_ms: 0,
            at: UnixMillis(1),
        }
    }

    fn report(findings: Vec<Finding>) -> Report {
        Report {
            at: UnixMillis(1),
            moment: Moment::Pre,
            findings,
        }
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_finding() {
        let pass = finding("A", Severity::Block, Outcome::Pass, "source");
        let warn = finding("B", Severity::Block, Outcome::Warn, "source");
        let block = finding("C", Severity::Block, Outcome::Block, "source");
        let exit_code = |findings| report(findings).verdict().exit_code();
        assert_eq!(exit_code(vec![pass.clone()]), 0);
        assert_eq!(exit_code(vec![pass.clone(), warn.clone()]), 2);
        assert_eq!(exit_code(vec![pass, warn, block]), 3);
    }

    #[test]
    fn unknown_is_never_a_pass_and_counts_as_the_severity() {
        let blocking = finding("A", Severity::Block, Outcome::Unknown, "source");
        let warning = finding("B", Severity::Warn, Outcome::Unknown, "source");
        assert_eq!(report(vec![warning.clone()]).verdict(), Verdict::Warnings);
        assert_eq!(report(vec![warning, blocking]).verdict(), Verdict::Blocked);
    }

    #[test]
    fn a_report_reads_back_what_it_wrote() {
        let report = report(vec![finding(
            "A",
            Severity::Block,
            Outcome::Unknown,
            "fleet",
        )]);
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.contains("\"unknown\""), "{text}");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
