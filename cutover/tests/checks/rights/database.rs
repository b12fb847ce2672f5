//! Databases of several owners, and the printed SQL run on them.

use std::{path::PathBuf, process::Stdio, time::Duration};

use pointsman_cutover::providers::postgres::{Grants, Management, RoleNames};
use pointsman_lab::tools;
use tokio::{
    io::AsyncWriteExt as _,
    process::Command,
    time::{Instant, sleep},
};

use super::{CONTROL, PROBE, REPLICATION};
use crate::pair::{Pair, Running};

pub(super) async fn version(source: &Running) -> i32 {
    let session = source.connect("postgres", "postgres").await;
    let asked = "SELECT current_setting('server_version_num')::int";
    session.query_one(asked, &[]).await.unwrap().get(0)
}

/// Databases of an application's role, and of the superuser; each has a table and a sequence.
pub(super) async fn make_databases(source: &Running) {
    source
        .execute(
            "postgres",
            &[
                "CREATE ROLE app LOGIN",
                "CREATE ROLE \"Stranger 1\"",
                "CREATE ROLE \"Stranger 2\"",
                "CREATE ROLE \"Stranger 3\"",
                "CREATE ROLE \"Stranger 4\"",
                "CREATE ROLE \"Stranger 5\"",
                "CREATE ROLE streamer LOGIN REPLICATION",
                "CREATE DATABASE orders OWNER app",
                "CREATE DATABASE billing",
            ],
        )
        .await;
    for datname in ["orders", "billing"] {
        source
            .execute(
                datname,
                &[
                    "CREATE TABLE plain (id int PRIMARY KEY)",
                    "ALTER TABLE plain OWNER TO app",
                    "CREATE SEQUENCE numbers",
                    "ALTER SEQUENCE numbers OWNER TO app",
                ],
            )
            .await;
    }
}

/// Runs the printed SQL with psql as the superuser, twice: it can be run again.
pub(super) async fn print_and_run(source: &Running, version: i32) {
    let grants = Grants {
        postgres: u16::try_from(version / 10_000).unwrap(),
        management: Management::SelfManaged,
        roles: RoleNames {
            control: CONTROL.to_owned(),
            probe: PROBE.to_owned(),
            replication: REPLICATION.to_owned(),
        },
        databases: ["orders", "billing"].map(str::to_owned).to_vec(),
    };
    let sql = grants.sql();
    for _ in 0..2 {
        let (succeeded, said) = psql(source, &sql).await;
        assert!(succeeded, "{said}");
    }
}

/// Makes the target stream as another role.
pub(super) async fn stream_as(role: &str, pair: &Pair) {
    let target = pair.target.connect("postgres", "postgres").await;
    let asked = "SELECT regexp_replace(current_setting('primary_conninfo'), 'user=\\w+', $1)";
    let conninfo: String = target
        .query_one(asked, &[&format!("user={role}")])
        .await
        .unwrap()
        .get(0);
    let alter = format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'");
    let reload = "SELECT pg_reload_conf()";
    pair.target.execute("postgres", &[&alter, reload]).await;
    let source = pair.source.connect("postgres", "postgres").await;
    let streaming = "SELECT FROM pg_stat_replication WHERE usename = $1 AND state = 'streaming'";
    let deadline = Instant::now() + Duration::from_secs(20);
    while source.query(streaming, &[&role]).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "nobody streams as {role}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// What psql makes of `script`, and what it said.
pub(super) async fn psql(source: &Running, script: &str) -> (bool, String) {
    let own = tools::postgres_bin().await.unwrap().join("psql");
    let program = if own.exists() {
        own
    } else {
        PathBuf::from("psql")
    };
    let mut child = Command::new(program)
        .args(["--no-psqlrc", "--quiet", "--dbname", &source.conninfo()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

/// Everything that a preflight must leave alone, row by row with its place and its last change.
pub(super) async fn catalogs(source: &Running) -> String {
    let mut all = String::new();
    for datname in ["postgres", "orders", "billing"] {
        let session = source.connect("postgres", datname).await;
        for rows in [
            "SELECT concat_ws(' ', ctid, xmin, datname, datdba, datallowconn, datconnlimit, datacl) FROM pg_database",
            "SELECT concat_ws(' ', ctid, xmin, rolname, rolcanlogin, rolreplication) FROM pg_authid",
            "SELECT concat_ws(' ', ctid, xmin, nspname, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'",
            "SELECT concat_ws(' ', ctid, xmin, relname, relowner, relacl) FROM pg_class WHERE relnamespace > 16000",
            "SELECT concat_ws(' ', ctid, xmin, pubname) FROM pg_publication",
            "SELECT concat_ws(' ', ctid, xmin, subname) FROM pg_subscription",
            "SELECT concat_ws(' ', slot_name, slot_type) FROM pg_replication_slots",
        ] {
            for row in session
                .query(&format!("{rows} ORDER BY 1"), &[])
                .await
                .unwrap()
            {
                all.push_str(row.get(0));
                all.push('\n');
            }
        }
    }
    all
}
