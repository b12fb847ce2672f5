//! Rights, on real servers: the printed SQL grants what a migration needs, and each right
//! that is taken away is named with the statement that gives it back.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio, time::Duration};

use pointsman_catalog::{FenceLevel, PasswordSource};
use pointsman_cutover::{
    checks::{Finding, Moment, Outcome, Report},
    ports::{ControlId, DatabaseProvider as _, FenceRecord, FormerSettings},
    providers::postgres::{
        Grants, Management, PostgresProvider, RIGHTS, Right, RoleNames, Without,
    },
};
use pointsman_lab::tools;
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    process::Command,
    time::{Instant, sleep},
};
use tokio_postgres::error::SqlState;

use super::{
    Setting, failing,
    pair::{Pair, Running},
    replayed,
};

/// Names that fail wherever they are not quoted.
const CONTROL: &str = "points man";
const PROBE: &str = "probe'r";
const REPLICATION: &str = "re\"plication";

/// A right, and how it alone is taken from the control role.
struct Taken {
    right: &'static str,
    /// `server_version_num` from which on it can be taken alone.
    from: i32,
    /// On the source, in `datname`.
    datname: &'static str,
    statements: &'static [&'static str],
    /// What cannot be done without it either, where a subscription can be made.
    with_it: &'static [&'static str],
}

const TAKEN: &[Taken] = &[
    taken(
        "see the sessions of other roles",
        &["REVOKE pg_monitor FROM \"points man\""],
    ),
    taken(
        "end the sessions of other roles",
        &["REVOKE pg_signal_backend FROM \"points man\""],
    ),
    taken(
        "close a database",
        &[
            "ALTER DATABASE orders OWNER TO \"Stranger 1\"",
            "GRANT CREATE ON DATABASE orders TO \"points man\"",
        ],
    ),
    taken(
        "close a database that the migration does not name",
        &["ALTER DATABASE template1 OWNER TO \"Stranger 4\""],
    ),
    taken("run the barrier", &["ALTER ROLE \"points man\" NOCREATEDB"]),
    Taken {
        from: 150_000,
        ..taken(
            "read the WAL",
            &[
                "REVOKE EXECUTE ON FUNCTION pg_get_wal_records_info(pg_lsn, pg_lsn) FROM \"points man\"",
            ],
        )
    },
    taken(
        "connect to a database",
        &["REVOKE CONNECT ON DATABASE billing FROM PUBLIC, \"points man\""],
    ),
    taken(
        "keep the fence record",
        &["REVOKE CREATE ON DATABASE postgres FROM \"points man\""],
    ),
    Taken {
        with_it: &["make a subscription"],
        ..taken(
            "make the probe table",
            &["REVOKE CREATE ON DATABASE billing FROM \"points man\""],
        )
    },
    taken(
        "promote the standby",
        &["REVOKE EXECUTE ON FUNCTION pg_promote(boolean, integer) FROM \"points man\""],
    ),
    taken(
        "make and drop replication slots",
        &["ALTER ROLE \"points man\" NOREPLICATION"],
    ),
    Taken {
        datname: "orders",
        from: 160_000,
        ..taken(
            "publish a table",
            &[
                "ALTER TABLE plain OWNER TO \"Stranger 2\"",
                "GRANT \"Stranger 2\" TO \"points man\" WITH INHERIT FALSE, SET TRUE",
            ],
        )
    },
    Taken {
        datname: "orders",
        from: 160_000,
        ..taken(
            "apply changes as a table's owner",
            &[
                "ALTER TABLE plain OWNER TO \"Stranger 3\"",
                "GRANT \"Stranger 3\" TO \"points man\" WITH INHERIT TRUE, SET FALSE",
            ],
        )
    },
    Taken {
        datname: "orders",
        from: 160_000,
        ..taken(
            "set a sequence",
            &["ALTER SEQUENCE numbers OWNER TO \"Stranger 5\""],
        )
    },
    Taken {
        from: 160_000,
        ..taken(
            "make a subscription",
            &["REVOKE pg_create_subscription FROM \"points man\""],
        )
    },
    Taken {
        from: 160_000,
        ..taken(
            "make a temporary table",
            &[
                "REVOKE TEMPORARY ON DATABASE orders FROM PUBLIC, app, \"Stranger 1\", \"points man\"",
            ],
        )
    },
    Taken {
        datname: "orders",
        from: 160_000,
        ..taken(
            "apply changes to a table that forces row-level security on its owner",
            &[
                "ALTER TABLE plain ENABLE ROW LEVEL SECURITY",
                "ALTER TABLE plain FORCE ROW LEVEL SECURITY",
            ],
        )
    },
    Taken {
        from: 160_000,
        ..taken(
            "keep modules from recording the password of the reverse stream",
            &["ALTER DATABASE orders SET pg_stat_statements.track = 'all'"],
        )
    },
    Taken {
        from: 160_000,
        ..taken(
            "stream changes",
            &["ALTER ROLE \"re\"\"plication\" NOREPLICATION"],
        )
    },
];

const fn taken(right: &'static str, statements: &'static [&'static str]) -> Taken {
    Taken {
        right,
        from: 0,
        datname: "postgres",
        statements,
        with_it: &[],
    }
}

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

/// A pair that is driven by the control role.
struct Subject {
    pair: Pair,
    setting: Setting,
    version: i32,
}

/// The rights that a preflight misses, and how it ends by each.
type Lacking = BTreeMap<&'static str, Without>;

impl Subject {
    fn new(pair: Pair, version: i32) -> Self {
        let mut setting = Setting::of(&pair);
        let port = setting.target.endpoint.port();
        setting.target.replication =
            Some(format!("host=127.0.0.1 port={port} user='{REPLICATION}'"));
        // Any variable that is set: nobody logs in by it.
        let password = PasswordSource::Environment("PATH".to_owned());
        setting.target.replication_password = Some(password);
        for server in [&mut setting.source, &mut setting.target] {
            server.fence = FenceLevel::Sql;
            server.probe = None;
        }
        Self {
            pair,
            setting,
            version,
        }
    }

    async fn preflight(&self) -> Report {
        replayed(&self.pair.source, &self.setting).await;
        let role = format!("'{CONTROL}'");
        self.setting.run(Moment::Pre, &role).await
    }

    /// What is missing, once a preflight has left nothing unknown: a machine that is busy may
    /// not answer in time.
    async fn lacking(&self) -> Lacking {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let report = self.preflight().await;
            let unknown = |finding: &&Finding| finding.result == Outcome::Unknown;
            match report.findings.iter().find(unknown) {
                None => return missing(&report).map(named).collect(),
                Some(finding) => assert!(Instant::now() < deadline, "{finding:#?}"),
            }
        }
    }

    /// What no GRANT gives a role without superuser on this version.
    fn lacks_by_version(&self) -> Lacking {
        let mut lacking = vec![if self.version < 160_000 {
            "make a subscription"
        } else {
            BY_VERSION
        }];
        if self.version < 150_000 {
            lacking.push("read the WAL");
        }
        lacking
            .into_iter()
            .map(|right| (right, Without::Warns))
            .collect()
    }

    /// `right`, which is missing now, with nothing else but `with_it`, and a row about it. The
    /// preflight that finds it touches nothing.
    async fn misses(&self, right: &'static str, with_it: &[&str]) -> (&'static str, String) {
        let known = self.lacks_by_version();
        let deadline = Instant::now() + Duration::from_secs(60);
        let report = loop {
            let before = catalogs(&self.pair.source).await;
            let report = self.preflight().await;
            assert_eq!(catalogs(&self.pair.source).await, before, "{right}");
            if missing(&report).any(|(_, found, _)| found.action == right) {
                break report;
            }
            assert!(
                Instant::now() < deadline && unanswered(&report),
                "{right} is not missed: {report:#?}"
            );
        };
        let other = missing(&report)
            .map(|(_, right, _)| right.action)
            .find(|other| {
                *other != right && !with_it.contains(other) && !known.contains_key(other)
            });
        assert_eq!(other, None, "{right}: {:#?}", failing(&report));
        let (finding, missed, _) = missing(&report)
            .find(|(_, found, _)| found.action == right)
            .unwrap();
        let outcome = match missed.without {
            Without::Blocks | Without::BlocksForWayBack => Outcome::Block,
            Without::Warns => Outcome::Warn,
        };
        assert_eq!(finding.result, outcome, "{finding:#?}");
        assert!(finding.message.contains(missed.given_up), "{finding:#?}");
        let row = format!(
            "| {right} | {} at {}: {} | {} |",
            finding.id,
            finding.location,
            missed.without.as_str(),
            finding.remedy
        );
        (right, row)
    }

    /// The engine makes the probe table and grants it; without that grant it is missed.
    async fn writes_the_probe_table_and_nothing_else(&mut self) -> (&'static str, String) {
        let port = self.pair.source.server().endpoint.port();
        let probe = format!("host=127.0.0.1 port={port} user={}", quoted(PROBE));
        for server in [&mut self.setting.source, &mut self.setting.target] {
            server.probe = Some(probe.clone());
        }
        self.drive().await;
        let session = self.pair.source.connect(&quoted(PROBE), "orders").await;
        let write = "INSERT INTO pointsman.probe (id, value) VALUES (2, 7) \
                     ON CONFLICT (id) DO UPDATE SET value = excluded.value";
        session.batch_execute(write).await.unwrap();
        session.batch_execute(write).await.unwrap();
        for refused in [
            "SELECT * FROM plain",
            "INSERT INTO plain VALUES (1)",
            "SELECT nextval('numbers')",
            "DELETE FROM pointsman.probe",
            "TRUNCATE pointsman.probe",
            "CREATE TABLE pointsman.other (id int)",
            "CREATE SCHEMA other",
            "CREATE ROLE other",
            "SELECT pg_drop_replication_slot('none')",
        ] {
            let error = session.batch_execute(refused).await.unwrap_err();
            let code = error.code().map(SqlState::code);
            assert_eq!(code, Some("42501"), "{refused}: {error:?}");
        }
        let revoke = format!("REVOKE INSERT ON pointsman.probe FROM \"{PROBE}\"");
        self.pair.source.execute("orders", &[&revoke]).await;
        let row = self.misses("write the probe table", &[]).await;
        self.give_back("write the probe table").await;
        assert_eq!(self.lacking().await, self.lacks_by_version());
        row
    }

    /// The control role starts a migration, fences the source with nothing left open, and opens
    /// it again.
    async fn drive(&self) {
        let mut server = self.setting.source.clone();
        let port = server.endpoint.port();
        server.control = format!("host=127.0.0.1 port={port} user={}", quoted(CONTROL));
        let control = ControlId {
            migration: "m".to_owned(),
            epoch: 1,
        };
        let provider = PostgresProvider::default();
        let source = provider.attach(&server, &control).await.unwrap();
        let datnames = ["orders", "billing"].map(str::to_owned);
        let sessions = source.sessions().unwrap();
        sessions.open_databases(&datnames).await.unwrap();
        let preparation = source.preparation().unwrap();
        preparation.prepare(&datnames).await.unwrap();

        let fence = source.fence().unwrap();
        let mut record = FenceRecord {
            migration: control.migration,
            epoch: control.epoch,
            server: server.name,
            timeline: source.observe().await.unwrap().timeline,
            promoted_by_api: false,
            promote_within: Duration::ZERO,
            former: FormerSettings::default(),
        };
        record.former = fence.close(&record).await.unwrap();
        sessions.await_starting_backends().await.unwrap();
        let soon = Duration::from_secs(20);
        sessions.end_sessions(&[], soon).await.unwrap();
        assert_eq!(fence.breaches(&record, &[]).await.unwrap(), []);
        fence.reopen(&record.former, &[]).await.unwrap();
    }

    /// Runs the statements of the findings about `right`.
    async fn give_back(&self, right: &str) {
        let report = self.preflight().await;
        for (_, _, evidence) in missing(&report).filter(|(_, found, _)| found.action == right) {
            let datname = evidence["database"].as_str().unwrap_or("postgres");
            let grant = evidence["grant"].as_str().unwrap();
            self.pair.source.execute(datname, &[grant]).await;
        }
    }
}

/// What the findings of a report say is missing.
fn missing(report: &Report) -> impl Iterator<Item = (&Finding, &'static Right, &Value)> {
    report
        .findings
        .iter()
        .filter(|finding| finding.fails())
        .flat_map(|finding| {
            finding.evidence.iter().filter_map(move |evidence| {
                let action = evidence["may_not"].as_str()?;
                let mut rights = RIGHTS.iter();
                let right = rights
                    .find(|right| right.action == action && right.check == finding.id)
                    .unwrap_or_else(|| panic!("{} misses {action}", finding.id));
                Some((finding, right, evidence))
            })
        })
}

fn named((_, right, _): (&Finding, &Right, &Value)) -> (&'static str, Without) {
    (right.action, right.without)
}

/// Whether a server did not answer in time.
fn unanswered(report: &Report) -> bool {
    let mut findings = report.findings.iter();
    findings.any(|finding| finding.message.contains("no answer within"))
}

/// A value of a connection string.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "\\'"))
}

async fn version(source: &Running) -> i32 {
    let session = source.connect("postgres", "postgres").await;
    let asked = "SELECT current_setting('server_version_num')::int";
    session.query_one(asked, &[]).await.unwrap().get(0)
}

/// Databases of an application's role, and of the superuser; each has a table and a sequence.
async fn make_databases(source: &Running) {
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
async fn print_and_run(source: &Running, version: i32) {
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
async fn stream_as(role: &str, pair: &Pair) {
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
async fn psql(source: &Running, script: &str) -> (bool, String) {
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
async fn catalogs(source: &Running) -> String {
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
