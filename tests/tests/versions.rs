//! What differs between versions of PostgreSQL stands in `docs/versions.md`; a sample of it is seen here.

use std::fs;

use anyhow::{Context, Result, ensure};
use pointsman_lab::{postgres::Hosting, tools};
use pointsman_tests::versions::{Case, HEADING, Row};

#[test]
fn the_page_lists_every_version_and_control_role() {
    let page = include_str!("../../docs/versions.md");
    let rows = Case::all().map(|case| Row::expected(case).to_string());
    let table = [HEADING.to_owned()].into_iter().chain(rows);
    let table = table.collect::<Vec<_>>().join("\n");
    assert!(
        page.contains(&table),
        "docs/versions.md lacks this table:\n{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_version_moves_there_and_back() -> Result<()> {
    as_promised(Case {
        major: 18,
        hosting: Hosting::SelfManaged,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_superuser_17_moves_there_and_back() -> Result<()> {
    as_promised(Case {
        major: 17,
        hosting: Hosting::Managed,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_pg_walinspect_14_moves_there_and_back() -> Result<()> {
    as_promised(Case {
        major: 14,
        hosting: Hosting::SelfManaged,
    })
    .await
}

/// A name that is no test's would keep out nothing, and nobody would see it.
#[test]
fn every_test_that_a_version_leaves_out_is_there_and_has_its_reason() -> Result<()> {
    for line in include_str!("../versions-skipped").lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (cases, reason) = line.split_once('#').context(line)?;
        let mut words = cases.split_whitespace();
        let (_, Some(test), None) = (words.next(), words.next(), words.next()) else {
            anyhow::bail!("not a pattern of cases and a test: {line}");
        };
        let (module, function) = test.split_once("::").context(line)?;
        let is_there = ["cutover/tests/provider", "tests/tests/engine"].map(|folder| {
            let file = tools::project_root()
                .join(folder)
                .join(format!("{module}.rs"));
            fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("fn {function}(")))
        });
        ensure!(is_there.contains(&true), "{test} is no test");
        ensure!(!reason.trim().is_empty(), "{test} has no reason");
    }
    Ok(())
}

async fn as_promised(case: Case) -> Result<()> {
    let (seen, expected) = (case.run().await?, Row::expected(case));
    ensure!(seen == expected, "{seen} instead of {expected}");
    Ok(())
}
