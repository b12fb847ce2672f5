//! Rights, on real servers: the printed SQL grants what a migration needs, and each right
//! that is taken away is named with the statement that gives it back.

#[path = "rights/database.rs"]
mod database;
#[path = "rights/subject.rs"]
mod subject;
#[path = "rights/taken.rs"]
mod taken;

use pointsman_catalog::FenceLevel;
use pointsman_cutover::providers::postgres::RIGHTS;

use self::{
    database::{make_databases, print_and_run, stream_as, version},
    subject::Subject,
    taken::TAKEN,
};
use super::pair::Pair;

/// Names that fail wherever they are not quoted.
const CONTROL: &str = "points man";
const PROBE: &str = "probe'r";
const REPLICATION: &str = "re\"plication";

#[tokio::test]
async fn each_right_that_is_taken_away_is_named_with_the_statement_that_gives_it_back() {
    each_right_is_named(None).await;
}

/// Before 16 a role without superuser has no reverse stream, and so no rights to it.
#[tokio::test]
async fn each_right_to_the_reverse_stream_is_named_as_well() {
    let seen = each_right_is_named(Some(17)).await;
    for right in RIGHTS {
        let by_version = right.check == "G3" || right.action == BY_VERSION;
        // Wanted where commits wait for standbys alone; the engine's tests have it.
        let by_setting = right.check == "S9";
        assert!(
            by_version || by_setting || seen.contains(&right.action),
            "{}",
            right.action
        );
    }
}

/// What no GRANT gives a role without superuser from 16 on; every preflight here misses it.
const BY_VERSION: &str = "take LOGIN from a role that passes the fence of the bake";

/// Each right once: named by preflight, nothing touched, and given back by the statement that
/// the finding has. Returns what was named.
#[expect(
    clippy::print_stdout,
    reason = "the table of rights is for who reads the output"
)]
async fn each_right_is_named(major: Option<u32>) -> Vec<&'static str> {
    let pair = Pair::start_on(major).await;
    let version = version(&pair.source).await;
    make_databases(&pair.source).await;
    print_and_run(&pair.source, version).await;
    stream_as("streamer", &pair).await;
    let mut subject = Subject::new(pair, version);
    let expected = subject.lacks_by_version();
    assert_eq!(subject.lacking().await, expected, "after the printed SQL");

    let mut rows = Vec::new();
    for taken in TAKEN.iter().filter(|taken| taken.from <= version) {
        let source = &subject.pair.source;
        source.execute(taken.datname, taken.statements).await;
        rows.push(subject.misses(taken.right, taken.with_it).await);
        subject.give_back(taken.right).await;
        let left = subject.lacking().await;
        assert_eq!(left, expected, "{} is not given back", taken.right);
    }
    subject.setting.source.fence = FenceLevel::SqlHba;
    rows.push(subject.misses("rewrite pg_hba.conf", &[]).await);
    subject.setting.source.fence = FenceLevel::Sql;
    stream_as("postgres", &subject.pair).await;
    rows.push(subject.misses("end the walsender of the target", &[]).await);
    stream_as("streamer", &subject.pair).await;
    if version >= 160_000 {
        let password = subject.setting.target.replication_password.take();
        rows.push(subject.misses("subscribe without a password", &[]).await);
        subject.setting.target.replication_password = password;
    }
    rows.push(subject.writes_the_probe_table_and_nothing_else().await);
    assert_eq!(subject.lacking().await, expected, "at the end");
    let (seen, rows): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    println!(
        "| right | finding | do |\n|---|---|---|\n{}",
        rows.join("\n")
    );
    seen
}
