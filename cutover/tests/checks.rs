//! The checks against real servers: silent on clean ones, and each one fires on its
//! fixture.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test fail the test where they stand"
)]

#[path = "checks/hosts.rs"]
mod hosts;
#[path = "checks/logins.rs"]
mod logins;
#[path = "checks/page.rs"]
mod page;
#[path = "checks/pair.rs"]
mod pair;
#[path = "checks/probe_role.rs"]
mod probe_role;
#[path = "checks/rights.rs"]
mod rights;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use pointsman_catalog::{DatabaseName, NodeId, Server, ServerName};
use pointsman_cutover::{
    checks::{CheckContext, CheckSet, Finding, Moment, Outcome, Report, Verdict},
    migration::{PlannedDatabase, UnlistedDatabasePolicy, Waiver},
    ports::{
        Budgets, DatabaseProvider, HostSeen, Inspector, Membership, PromotionOutlook,
        ProviderError, Reached, SystemClock, Tried,
    },
    providers::postgres::{self, PostgresProvider, SecretSources},
};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use pair::{Pair, Running};

/// One pair of servers, clean first, then spoiled more and more.
#[tokio::test]
async fn checks_are_silent_on_a_clean_pair_and_fire_on_their_fixtures() {
    let pair = Pair::start().await;
    make_clean_databases(&pair.source).await;
    let mut setting = Setting::of(&pair);
    replayed(&pair.source, &setting).await;

    let report = setting.preflight().await;
    assert_eq!(report.verdict(), Verdict::Pass, "{:#?}", failing(&report));
    assert_eq!(ids(&report.findings), page::ids());
    setting.accept_loss = true;
    page::lists_what_was_found(&report, &setting.preflight().await);
    setting.accept_loss = false;
    let first_start = setting.run(Moment::Switch, "postgres").await;
    assert_eq!(blocked(&first_start), ["C85"], "no publication yet");

    an_idle_pair_at_a_segment_boundary_follows(&pair.source, &setting).await;
    another_target_is_no_replica(&setting).await;
    a_silent_server_is_unknown(&setting).await;
    a_plain_role_cannot_fence(&pair.source, &setting).await;
    a_probe_whose_password_a_sidecar_could_read_is_blind(&mut setting).await;
    replay_that_is_paused_blocks(&pair.target, &setting).await;
    every_database_needs_a_decision(&pair.source, &mut setting).await;
    a_replication_session_is_listed(&pair.source, &setting).await;
    who_else_uses_the_control_role_is_named(&pair.source, &setting).await;
    commits_that_wait_for_standbys_block(&pair, &mut setting).await;

    spoil(&pair.source).await;
    let report = setting.preflight().await;
    let expected = [
        "C30", "C32", "C33", "C37", "C56", "C57", "C60", "C63", "C85",
    ];
    assert_eq!(blocked(&report), expected, "{:#?}", failing(&report));
    setting.accept_loss = true;
    let report = setting.preflight().await;
    assert_eq!(blocked(&report), ["C30", "C32", "C33", "C37"]);
    every_identity_fixture_is_evidence(&report);
}

/// The write position may stand at a boundary that no record reaches.
async fn an_idle_pair_at_a_segment_boundary_follows(source: &Running, setting: &Setting) {
    source
        .execute("postgres", &["SELECT pg_switch_wal()"])
        .await;
    let report = setting.preflight().await;
    let finding = find(&report, "C66", "target");
    assert_eq!(finding.result, Outcome::Pass, "{finding:#?}");
}

async fn another_target_is_no_replica(setting: &Setting) {
    let sessions = setting.inspect(&setting.source, "postgres").await;
    let report = setting.run_on(Moment::Pre, &*sessions, &*sessions).await;
    let finding = find(&report, "ID", "target");
    assert_eq!(finding.result, Outcome::Block);
    assert!(finding.message.contains("primary already"), "{finding:#?}");
    assert_eq!(find(&report, "C66", "target").result, Outcome::Block);
    assert_eq!(find(&report, "C81", "target").result, Outcome::Block);
}

async fn a_silent_server_is_unknown(setting: &Setting) {
    let report = setting.run_on(Moment::Pre, &Silent, &Silent).await;
    let unread = report
        .findings
        .iter()
        .filter(|finding| finding.result == Outcome::Unknown);
    assert_eq!(
        unread.count(),
        report.findings.len() - 6,
        "all but the fleet, what it reaches, its reader routes, who promotes, the journal's room and \
         a durable way back that nobody wants: {report:#?}"
    );
    assert_eq!(report.verdict(), Verdict::Blocked);
}

async fn a_probe_whose_password_a_sidecar_could_read_is_blind(setting: &mut Setting) {
    let declared = setting
        .target
        .probe
        .replace("host=127.0.0.1 user=app password=known".to_owned());
    let report = setting.preflight().await;
    let finding = find(&report, "G4", "source/orders");
    assert_eq!(finding.result, Outcome::Warn, "{finding:#?}");
    assert!(
        finding.remedy.contains("sslmode=verify-full"),
        "{finding:#?}"
    );
    setting.target.probe = declared;
}

async fn a_plain_role_cannot_fence(source: &Running, setting: &Setting) {
    source
        .execute(
            "postgres",
            &["CREATE ROLE watcher LOGIN", "GRANT pg_monitor TO watcher"],
        )
        .await;
    replayed(source, setting).await;
    let report = setting.run(Moment::Pre, "watcher").await;
    let expected = ["C41", "C85", "G1", "G2"];
    assert_eq!(blocked(&report), expected, "{:#?}", failing(&report));
    let unknown = |finding: &&Finding| finding.result == Outcome::Unknown;
    assert_eq!(report.findings.iter().find(unknown), None);
}

async fn replay_that_is_paused_blocks(target: &Running, setting: &Setting) {
    target
        .execute("postgres", &["SELECT pg_wal_replay_pause()"])
        .await;
    let report = setting.preflight().await;
    assert_eq!(blocked(&report), ["C66"]);
    target
        .execute("postgres", &["SELECT pg_wal_replay_resume()"])
        .await;
}

async fn every_database_needs_a_decision(source: &Running, setting: &mut Setting) {
    source.execute("postgres", &["CREATE DATABASE idle"]).await;
    let report = setting.preflight().await;
    assert_eq!(blocked(&report), ["S4"]);
    for policy in [
        UnlistedDatabasePolicy::StaysClosed,
        UnlistedDatabasePolicy::Moves,
    ] {
        setting.unlisted.insert("idle".to_owned(), policy);
        replayed(source, setting).await;
        let report = setting.preflight().await;
        assert_eq!(report.verdict(), Verdict::Pass, "{:#?}", failing(&report));
    }
    setting.catalogued.push(planned("ledger"));
    setting.readers.insert(
        DatabaseName::new("orders").unwrap(),
        vec![ServerName::new("gray").unwrap()],
    );
    let report = setting.preflight().await;
    assert_eq!(blocked(&report), ["S4"]);
    assert_eq!(find(&report, "S10", "fleet").result, Outcome::Warn);
    setting.catalogued.pop();
}

async fn a_replication_session_is_listed(source: &Running, setting: &Setting) {
    source
        .execute(
            "orders",
            &[
                "CREATE ROLE feed LOGIN REPLICATION",
                "GRANT INSERT ON keyed TO feed",
            ],
        )
        .await;
    let session = source.walsender("feed", "orders").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let report = loop {
        let report = setting.preflight().await;
        if find(&report, "S1", "source").result == Outcome::Warn {
            break report;
        }
        assert!(Instant::now() < deadline, "{report:#?}");
        sleep(Duration::from_millis(20)).await;
    };
    drop(session);
    assert_eq!(report.verdict(), Verdict::Warnings);
    let sessions = find(&report, "S1", "source");
    assert!(
        sessions.message.contains("of feed in orders"),
        "{sessions:#?}"
    );
    let roles = find(&report, "S1", "source/orders");
    assert!(
        roles.message.contains("feed, 1 writable table"),
        "{roles:#?}"
    );
    let harmless = find(&report, "S1", "source/billing");
    assert_eq!(harmless.result, Outcome::Pass);
}

async fn who_else_uses_the_control_role_is_named(source: &Running, setting: &Setting) {
    let session = source.connect("postgres", "orders").await;
    let report = setting.preflight().await;
    let finding = find(&report, "S26", "source");
    assert_eq!(finding.result, Outcome::Warn, "{finding:#?}");
    assert!(finding.message.contains("in orders"), "{finding:#?}");
    assert_eq!(find(&report, "S26", "target").result, Outcome::Pass);
    drop(session);
}

async fn commits_that_wait_for_standbys_block(pair: &Pair, setting: &mut Setting) {
    let Pair { source, target, .. } = pair;
    let alter = |value: &str| format!("ALTER SYSTEM SET synchronous_standby_names = '{value}'");
    let reload = "SELECT pg_reload_conf()";
    source
        .execute("postgres", &[&alter("FIRST 1 (gray)"), reload])
        .await;
    until_blocked(setting, &["S9"]).await;
    setting.waived.insert("S9".parse().unwrap());
    until_blocked(setting, &[]).await;
    source.execute("postgres", &[&alter(""), reload]).await;
    // The control role can empty it.
    target
        .execute("postgres", &[&alter("FIRST 1 (gray)"), reload])
        .await;
    until_blocked(setting, &[]).await;
    target.execute("postgres", &[&alter(""), reload]).await;
}

/// A reload reaches sessions when they look.
async fn until_blocked(setting: &Setting, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let report = setting.preflight().await;
        if blocked(&report) == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{:#?}", failing(&report));
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the target shows what the source has written.
async fn replayed(source: &Running, setting: &Setting) {
    let primary = source.connect("postgres", "postgres").await;
    let written: String = primary
        .query_one("SELECT pg_logical_emit_message(true, 'lab', '')::text", &[])
        .await
        .unwrap()
        .get(0);
    let deadline = Instant::now() + Duration::from_secs(10);
    let select = format!(
        "SELECT 1 FROM pg_stat_replication WHERE replay_lsn >= '{written}'::pg_lsn AND \
         application_name = '{}'",
        setting.target.name
    );
    while primary.query_opt(&select, &[]).await.unwrap().is_none() {
        assert!(
            Instant::now() < deadline,
            "{} is stuck",
            setting.target.name
        );
        sleep(Duration::from_millis(10)).await;
    }
}

async fn make_clean_databases(source: &Running) {
    source
        .execute(
            "postgres",
            &[
                "CREATE ROLE probe LOGIN",
                "CREATE DATABASE orders",
                "CREATE DATABASE billing",
            ],
        )
        .await;
    source
        .execute(
            "orders",
            &[
                "CREATE TABLE keyed (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)",
                "CREATE TABLE marked (a int NOT NULL)",
                "CREATE UNIQUE INDEX marked_a ON marked (a)",
                "ALTER TABLE marked REPLICA IDENTITY USING INDEX marked_a",
                "CREATE TABLE full_rows (a int)",
                "ALTER TABLE full_rows REPLICA IDENTITY FULL",
                "CREATE TABLE by_number (a int PRIMARY KEY) PARTITION BY RANGE (a)",
                "CREATE TABLE by_number_1 PARTITION OF by_number FOR VALUES FROM (0) TO (1000)",
                "CREATE TABLE by_day (day timestamptz PRIMARY KEY) PARTITION BY RANGE (day)",
                "CREATE TABLE by_day_1 PARTITION OF by_day FOR VALUES FROM ('2020-01-01') TO ('2199-01-01')",
                "CREATE TABLE open_end (day date PRIMARY KEY) PARTITION BY RANGE (day)",
                "CREATE TABLE open_end_1 PARTITION OF open_end FOR VALUES FROM (MINVALUE) TO ('2020-01-01')",
                "CREATE TABLE open_end_2 PARTITION OF open_end FOR VALUES FROM ('2020-01-01') TO (MAXVALUE)",
                "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
                "CREATE TRIGGER plain BEFORE UPDATE ON keyed FOR EACH ROW EXECUTE FUNCTION nothing()",
                "CREATE VIEW seen AS SELECT * FROM keyed",
            ],
        )
        .await;
}

/// The fixtures of the checks that read databases.
async fn spoil(source: &Running) {
    source
        .execute(
            "orders",
            &[
                "CREATE SUBSCRIPTION feed CONNECTION 'port=1' PUBLICATION x WITH (connect = false)",
                "CREATE UNLOGGED TABLE cache (a int PRIMARY KEY)",
                "CREATE TABLE keyless (a int)",
                "CREATE TABLE unique_only (a int NOT NULL UNIQUE)",
                "CREATE TABLE deferred (a int PRIMARY KEY DEFERRABLE)",
                "CREATE TABLE nothing_at_all (a int PRIMARY KEY)",
                "ALTER TABLE nothing_at_all REPLICA IDENTITY NOTHING",
                "DROP INDEX marked_a",
                "CREATE TABLE keyless_parent (a int) PARTITION BY LIST (a)",
                "CREATE TABLE keyless_leaf PARTITION OF keyless_parent DEFAULT",
                "SELECT lo_create(0)",
                "CREATE TABLE past (day date PRIMARY KEY) PARTITION BY RANGE (day)",
                "CREATE TABLE past_1 PARTITION OF past FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
                "ALTER TABLE keyed ENABLE ALWAYS TRIGGER plain",
                "CREATE PUBLICATION pointsman_rb FOR TABLE keyed",
                "INSERT INTO keyed (note) VALUES ('before')",
                "BEGIN; INSERT INTO keyed (note) VALUES ('prepared'); PREPARE TRANSACTION 'g1'",
                "SELECT pg_create_physical_replication_slot('idle_' || n) FROM generate_series(1, 8) AS n",
            ],
        )
        .await;
}

fn every_identity_fixture_is_evidence(report: &Report) {
    let finding = find(report, "C56", "source/orders");
    assert_eq!(finding.result, Outcome::Warn);
    let names: BTreeSet<_> = finding
        .evidence
        .iter()
        .filter_map(|row| row["table_name"].as_str())
        .collect();
    let expected = [
        "public.deferred",
        "public.keyless",
        "public.keyless_leaf",
        "public.marked",
        "public.nothing_at_all",
        "public.unique_only",
    ];
    assert_eq!(names, BTreeSet::from(expected));
}

/// What a migration and its surroundings say, owned, so that a test can change it.
struct Setting {
    source: Server,
    target: Server,
    databases: Vec<PlannedDatabase>,
    catalogued: Vec<PlannedDatabase>,
    unlisted: BTreeMap<String, UnlistedDatabasePolicy>,
    waived: BTreeSet<Waiver>,
    readers: BTreeMap<DatabaseName, Vec<ServerName>>,
    promotion_by_api: Option<PromotionOutlook>,
    accept_loss: bool,
    durable_way_back: bool,
}

impl Setting {
    fn of(pair: &Pair) -> Self {
        let [source, target] = [&pair.source, &pair.target].map(|running| Server {
            probe: Some("host=127.0.0.1 user=probe".to_owned()),
            ..running.server()
        });
        let databases = vec![planned("orders"), planned("billing")];
        let readers = databases
            .iter()
            .zip([target.name.clone(), source.name.clone()])
            .map(|(database, reader)| (database.name.clone(), vec![reader]))
            .collect();
        Self {
            catalogued: databases.clone(),
            databases,
            unlisted: BTreeMap::new(),
            waived: BTreeSet::new(),
            readers,
            promotion_by_api: None,
            accept_loss: false,
            durable_way_back: false,
            source,
            target,
        }
    }

    async fn preflight(&self) -> Report {
        self.run(Moment::Pre, "postgres").await
    }

    async fn run(&self, moment: Moment, role: &str) -> Report {
        let on_source = self.inspect(&self.source, role).await;
        let on_target = self.inspect(&self.target, role).await;
        self.run_on(moment, &*on_source, &*on_target).await
    }

    async fn inspect(&self, server: &Server, role: &str) -> Box<dyn Inspector> {
        let mut server = server.clone();
        server.control = format!("host=127.0.0.1 port={} user={role}", server.endpoint.port());
        let sources = SecretSources::unrestricted();
        let provider = PostgresProvider::new(sources);
        provider.inspect(&server).await.unwrap()
    }

    async fn run_on(
        &self,
        moment: Moment,
        on_source: &dyn Inspector,
        on_target: &dyn Inspector,
    ) -> Report {
        let membership = Ok(Membership {
            registered: vec![NodeId::new("sidecar-1").unwrap()],
            ..Membership::default()
        });
        let checks = CheckSet::new(postgres::CHECKS);
        let context = CheckContext {
            clock: &SystemClock::default(),
            source: &self.source,
            target: &self.target,
            on_source,
            on_target,
            databases: &self.databases,
            unlisted: &self.unlisted,
            waived: &self.waived,
            catalogued: &self.catalogued,
            readers: &self.readers,
            membership: &membership,
            journal_room: &Ok(u64::MAX),
            reached: &[(NodeId::new("sidecar-1").unwrap(), Reached::Yes)].into(),
            promotion_by_api: self.promotion_by_api,
            target_budgets: Budgets::BY_SQL,
            hold: Duration::from_secs(10),
            accept_loss: self.accept_loss,
            durable_way_back: self.durable_way_back,
            moment,
            bake: Duration::from_secs(60 * 60),
        };
        checks.run(&context).await
    }
}

/// A server that does not answer.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Inspector for Silent {
    async fn rows(
        &self,
        _datname: &str,
        _select: &str,
    ) -> Result<Vec<Map<String, Value>>, ProviderError> {
        Err(silence())
    }

    async fn try_out(&self, _datname: &str, _statements: &str) -> Result<Tried, ProviderError> {
        Err(silence())
    }

    async fn hosts(&self) -> Result<Vec<HostSeen>, ProviderError> {
        Err(silence())
    }

    fn hands_over_password(&self) -> bool {
        false
    }

    fn probe_role(&self) -> Result<Option<String>, String> {
        Ok(Some("probe".to_owned()))
    }

    fn probe_login(&self, _datname: &str) -> Result<(), String> {
        Ok(())
    }
}

fn silence() -> ProviderError {
    ProviderError::Unreachable {
        server: ServerName::new("silent").unwrap(),
        reason: "connection refused".to_owned(),
    }
}

fn planned(name: &str) -> PlannedDatabase {
    PlannedDatabase {
        name: DatabaseName::new(name).unwrap(),
        datname: name.to_owned(),
    }
}

fn find<'a>(report: &'a Report, id: &str, location: &str) -> &'a Finding {
    report
        .findings
        .iter()
        .find(|finding| finding.id == id && finding.location == location)
        .unwrap_or_else(|| panic!("no {id} at {location}: {report:#?}"))
}

fn failing(report: &Report) -> Vec<&Finding> {
    report
        .findings
        .iter()
        .filter(|found| found.fails())
        .collect()
}

/// The checks that block, in the order of the report.
fn blocked(report: &Report) -> Vec<&str> {
    let mut ids: Vec<_> = report.blocking().map(|found| found.id.as_str()).collect();
    ids.dedup();
    ids
}

fn ids(findings: &[Finding]) -> Vec<&str> {
    let mut ids: Vec<_> = findings.iter().map(|found| found.id.as_str()).collect();
    ids.dedup();
    ids
}
