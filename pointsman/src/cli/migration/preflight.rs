use std::process::ExitCode;

use anyhow::bail;
use pointsman_cutover::checks::Verdict;
use pointsman_proto::v1::{Finding, MigrationRequest, PreflightReport};
use serde_json::Value;

use super::show;
use crate::cli::{
    client,
    global::{Format, Global},
    output::{self, Table},
};

pub(super) async fn run(
    global: &Global,
    name: String,
    only: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let report = client::connect(global)
        .await?
        .preflight_migration(MigrationRequest { name })
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    let findings = chosen(&report, only)?;
    match global.output {
        Format::Json => output::line(&serde_json::to_string_pretty(&json(&report, &findings)?)?)?,
        Format::Table if only.is_some() => output::line(&objects(&findings))?,
        Format::Table => output::line(&table(&report))?,
    }
    Ok(exit_code(&report.verdict))
}

fn exit_code(verdict: &str) -> ExitCode {
    // A verdict of a newer control plane that this program does not know is no pass.
    let verdict = serde_json::from_value(verdict.into()).unwrap_or(Verdict::Blocked);
    ExitCode::from(verdict.exit_code())
}

fn chosen<'a>(report: &'a PreflightReport, only: Option<&str>) -> anyhow::Result<Vec<&'a Finding>> {
    let Some(only) = only else {
        return Ok(report.findings.iter().collect());
    };
    let matches = |finding: &&Finding| {
        finding.id.eq_ignore_ascii_case(only) || finding.slug.eq_ignore_ascii_case(only)
    };
    let findings: Vec<_> = report.findings.iter().filter(matches).collect();
    if findings.is_empty() {
        let known: Vec<_> = by_check(&report.findings)
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        bail!("there is no check {only}; checks: {}", known.join(", "));
    }
    Ok(findings)
}

fn json(report: &PreflightReport, findings: &[&Finding]) -> anyhow::Result<Value> {
    let mut list = Vec::with_capacity(findings.len());
    for finding in findings {
        let mut value = serde_json::to_value(finding)?;
        value["evidence"] = show::parsed(&finding.evidence, "[]");
        list.push(value);
    }
    Ok(serde_json::json!({ "verdict": report.verdict, "findings": list }))
}

/// Findings of one check, each about another place, belong on one line.
fn by_check(findings: &[Finding]) -> Vec<(&str, Vec<&Finding>)> {
    let mut checks: Vec<(&str, Vec<&Finding>)> = Vec::new();
    for finding in findings {
        match checks.iter_mut().find(|(id, _)| *id == finding.id) {
            Some((_, findings)) => findings.push(finding),
            None => checks.push((&finding.id, vec![finding])),
        }
    }
    checks
}

fn table(report: &PreflightReport) -> String {
    let mut table = Table::new(["CHECK", "NAME", "RESULT", "MESSAGE"]);
    let mut remedies = Vec::new();
    for (id, findings) in by_check(&report.findings) {
        let Some(worst) = findings
            .iter()
            .rev()
            .max_by_key(|finding| weight(&finding.result))
        else {
            continue;
        };
        let more = findings
            .iter()
            .filter(|finding| weight(&finding.result) == weight(&worst.result))
            .count()
            - 1;
        let message = if more == 0 || weight(&worst.result) == PASS {
            worst.message.clone()
        } else {
            format!("{} (and {more} more: --show {id})", worst.message)
        };
        table.row([
            id.to_owned(),
            worst.slug.clone(),
            worst.result.to_uppercase(),
            message,
        ]);
        if weight(&worst.result) > PASS && !worst.remedy.is_empty() {
            remedies.push(format!("{id} {}: {}", worst.location, worst.remedy));
        }
    }
    let mut text = format!("{table}\nverdict: {}", report.verdict);
    if !remedies.is_empty() {
        text.push_str("\n\nwhat to do:\n  ");
        text.push_str(&remedies.join("\n  "));
    }
    text
}

/// Every object of the chosen check, with its evidence.
fn objects(findings: &[&Finding]) -> String {
    let mut blocks = Vec::new();
    for finding in findings {
        let mut lines = vec![format!(
            "{} {}  {}  {}",
            finding.id,
            finding.slug,
            finding.result.to_uppercase(),
            finding.location
        )];
        lines.push(format!("  {}", finding.message));
        if !finding.remedy.is_empty() {
            lines.push(format!("  remedy: {}", finding.remedy));
        }
        if let Value::Array(evidence) = show::parsed(&finding.evidence, "[]") {
            lines.extend(evidence.iter().map(|object| format!("  - {object}")));
        }
        blocks.push(lines.join("\n"));
    }
    blocks.join("\n")
}

const PASS: u8 = 0;

fn weight(result: &str) -> u8 {
    match result {
        "pass" => PASS,
        "warn" => 1,
        "unknown" => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> PreflightReport {
        let finding =
            |id: &str, slug: &str, result: &str, location: &str, message: &str, remedy: &str| {
                Finding {
                    id: id.to_owned(),
                    slug: slug.to_owned(),
                    severity: "block".to_owned(),
                    result: result.to_owned(),
                    location: location.to_owned(),
                    evidence: r#"[{"relation":"public.t"}]"#.to_owned(),
                    message: message.to_owned(),
                    remedy: remedy.to_owned(),
                    took_ms: 3,
                    at_ms: 0,
                }
            };
        PreflightReport {
            verdict: "blocked".to_owned(),
            findings: vec![
                finding(
                    "C30",
                    "wal-level",
                    "pass",
                    "source",
                    "wal_level is logical",
                    "",
                ),
                finding(
                    "C56",
                    "replica-identity",
                    "block",
                    "source/orders",
                    "public.t has no replica identity",
                    "ALTER TABLE public.t ADD PRIMARY KEY (id)",
                ),
                finding(
                    "C56",
                    "replica-identity",
                    "block",
                    "source/billing",
                    "public.u has no replica identity",
                    "ALTER TABLE public.u ADD PRIMARY KEY (id)",
                ),
            ],
        }
    }

    #[test]
    fn a_check_is_one_line_however_many_objects_it_found() {
        insta::assert_snapshot!(table(&report()));
    }

    #[test]
    fn show_prints_every_object_of_a_check() {
        let report = report();
        insta::assert_snapshot!(objects(&chosen(&report, Some("c56")).unwrap()));
    }

    #[test]
    fn an_unknown_check_is_answered_with_the_known_ones() {
        let error = chosen(&report(), Some("C99")).unwrap_err().to_string();
        assert_eq!(error, "there is no check C99; checks: C30, C56");
    }
}
