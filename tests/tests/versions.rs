//! What differs between versions of PostgreSQL stands in `docs/versions.md`; a sample of it is seen here.

use anyhow::{Result, ensure};
use pointsman_lab::postgres::Hosting;
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

async fn as_promised(case: Case) -> Result<()> {
    let (seen, expected) = (case.run().await?, Row::expected(case));
    ensure!(seen == expected, "{seen} instead of {expected}");
    Ok(())
}
