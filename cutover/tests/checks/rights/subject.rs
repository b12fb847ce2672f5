//! A pair that is driven by the control role, and what preflight says of it.

use std::{collections::BTreeMap, time::Duration};

use pointsman_catalog::{FenceLevel, PasswordSource};
use pointsman_cutover::{
    checks::{Finding, Moment, Outcome, Report},
    ports::{ControlId, DatabaseProvider as _, FenceRecord, FormerSettings},
    providers::postgres::{PostgresProvider, RIGHTS, Right, Without},
};
use serde_json::Value;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::{BY_VERSION, CONTROL, PROBE, REPLICATION, database::catalogs};
use crate::{Setting, failing, pair::Pair, replayed};

/// A pair that is driven by the control role.
pub(super) struct Subject {
    pub(super) pair: Pair,
    pub(super) setting: Setting,
    pub(super) version: i32,
}

/// The rights that a preflight misses, and how it ends by each.
pub(super) type Lacking = BTreeMap<&'static str, Without>;

impl Subject {
    pub(super) fn new(pair: Pair, version: i32) -> Self {
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

    pub(super) async fn preflight(&self) -> Report {
        replayed(&self.pair.source, &self.setting).await;
        let role = format!("'{CONTROL}'");
        self.setting.run(Moment::Pre, &role).await
    }

    /// What is missing, once a preflight has left nothing unknown: a machine that is busy may
    /// not answer in time.
    pub(super) async fn lacking(&self) -> Lacking {
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
    pub(super) fn lacks_by_version(&self) -> Lacking {
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
    pub(super) async fn misses(
        &self,
        right: &'static str,
        with_it: &[&str],
    ) -> (&'static str, String) {
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
    pub(super) async fn writes_the_probe_table_and_nothing_else(
        &mut self,
    ) -> (&'static str, String) {
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
    pub(super) async fn drive(&self) {
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
    pub(super) async fn give_back(&self, right: &str) {
        let report = self.preflight().await;
        for (_, _, evidence) in missing(&report).filter(|(_, found, _)| found.action == right) {
            let datname = evidence["database"].as_str().unwrap_or("postgres");
            let grant = evidence["grant"].as_str().unwrap();
            self.pair.source.execute(datname, &[grant]).await;
        }
    }
}

/// What the findings of a report say is missing.
pub(super) fn missing(report: &Report) -> impl Iterator<Item = (&Finding, &'static Right, &Value)> {
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

pub(super) fn named((_, right, _): (&Finding, &Right, &Value)) -> (&'static str, Without) {
    (right.action, right.without)
}

/// Whether a server did not answer in time.
pub(super) fn unanswered(report: &Report) -> bool {
    let mut findings = report.findings.iter();
    findings.any(|finding| finding.message.contains("no answer within"))
}

/// A value of a connection string.
pub(super) fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "\\'"))
}
