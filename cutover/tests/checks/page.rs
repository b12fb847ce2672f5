//! The operators' page against the code.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_cutover::{
    checks::{CheckSet, Outcome, Report, Severity, Verdict},
    providers::postgres,
};
use serde::Serialize;

const PAGE: &str = include_str!("../../../docs/preflight.md");

#[test]
fn the_page_lists_and_explains_every_check_and_no_other() {
    let mut expected: Vec<_> = CheckSet::new(postgres::CHECKS)
        .specs()
        .map(|spec| (spec.id.to_owned(), format!("`{}`", spec.slug)))
        .collect();
    expected.dedup();
    let listed: Vec<_> = table(["id", "slug", "severity", "reports about"])
        .into_iter()
        .map(|[id, slug, _, _]| (id, slug))
        .collect();
    for (id, slug) in &expected {
        let there = listed.iter().any(|(listed, _)| listed == id);
        assert!(there, "docs/preflight.md has no row | {id} | {slug} |");
    }
    assert_eq!(listed, expected);
    let explained: Vec<_> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("### ")?.split_once(" · "))
        .map(|(id, slug)| (id.to_owned(), slug.to_owned()))
        .collect();
    assert_eq!(explained, expected);
}

#[test]
fn the_page_has_the_verdicts_with_their_exit_codes_and_the_results() {
    let verdicts = [Verdict::Pass, Verdict::Warnings, Verdict::Blocked]
        .map(|verdict| (word(verdict), verdict.exit_code().to_string()));
    let listed: Vec<_> = table(["verdict", "exit code", "meaning"])
        .into_iter()
        .map(|[verdict, code, _]| (verdict, code))
        .collect();
    assert_eq!(listed, verdicts);
    let results = [
        Outcome::Pass,
        Outcome::Warn,
        Outcome::Unknown,
        Outcome::Block,
    ]
    .map(word);
    let listed: Vec<_> = table(["result", "meaning"])
        .into_iter()
        .map(|[result, _]| result)
        .collect();
    assert_eq!(listed, results);
}

/// The ids of all checks, in the order of reports.
pub(crate) fn ids() -> Vec<String> {
    let rows = table(["id", "slug", "severity", "reports about"]);
    rows.into_iter().map(|[id, ..]| id).collect()
}

/// The columns "severity" and "reports about" are what a report on a clean pair shows. In `lossy`
/// the operator has given up the lossless way back.
pub(crate) fn lists_what_was_found(report: &Report, lossy: &Report) {
    let mut found: BTreeMap<&str, (Vec<[Severity; 2]>, BTreeSet<String>)> = BTreeMap::new();
    for (finding, accepted) in report.findings.iter().zip(&lossy.findings) {
        let (severities, places) = found.entry(&finding.id).or_default();
        severities.push([finding.severity, accepted.severity]);
        places.insert(place(&finding.location));
    }
    for [id, _, severity, about] in table(["id", "slug", "severity", "reports about"]) {
        let (severities, places) = &found[id.as_str()];
        assert_eq!(severity, severity_of(severities), "severity of {id}");
        let listed = about.split(", ").flat_map(|part| part.split(" and "));
        let listed: BTreeSet<_> = listed.map(str::to_owned).collect();
        assert_eq!(listed, *places, "what {id} reports about");
    }
}

/// As the page writes it: R marks what guards only the lossless way back.
fn severity_of(severities: &[[Severity; 2]]) -> &'static str {
    let all = |wanted| severities.iter().all(|found| *found == wanted);
    let block = [Severity::Block, Severity::Block];
    let way_back = [Severity::Block, Severity::Warn];
    if all([Severity::Warn, Severity::Warn]) {
        "warn"
    } else if all(block) {
        "block"
    } else if all(way_back) {
        "block R"
    } else {
        "block, in part R"
    }
}

fn place(location: &str) -> String {
    match location {
        "source/postgres" => "database `postgres`".to_owned(),
        location if location.contains('/') => "each database".to_owned(),
        location => location.to_owned(),
    }
}

/// The rows of the table with these columns.
fn table<const N: usize>(columns: [&str; N]) -> Vec<[String; N]> {
    let head = format!("| {} |", columns.join(" | "));
    let (_, below) = PAGE.split_once(&head).unwrap();
    below
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| {
            let cells: Vec<_> = row.split(" | ").map(str::to_owned).collect();
            cells.try_into().unwrap()
        })
        .collect()
}

fn word(value: impl Serialize) -> String {
    let word = serde_json::to_value(value).unwrap();
    format!("`{}`", word.as_str().unwrap())
}
