//! What the probe role may do beside writing its table, on a real server.

use pointsman_cutover::checks::{Finding, Outcome};

use super::{Setting, find, pair::Pair, replayed};

/// A right, where it is found, and how that is said.
const RIGHTS: &[(&str, &str, &str)] = &[
    (
        "source",
        "ALTER ROLE \"pro be\" CREATEDB",
        "it has CREATEDB",
    ),
    (
        "source",
        "ALTER ROLE \"pro be\" BYPASSRLS",
        "it has BYPASSRLS",
    ),
    (
        "source",
        "ALTER ROLE \"pro be\" REPLICATION",
        "it has REPLICATION",
    ),
    (
        "source",
        "ALTER ROLE \"pro be\" CREATEROLE",
        "it has CREATEROLE",
    ),
    (
        "source",
        "ALTER ROLE \"pro be\" SUPERUSER",
        "it has SUPERUSER",
    ),
    ("source", "GRANT app TO \"pro be\"", "it is a member of app"),
    (
        "source",
        "GRANT pg_write_all_data TO \"pro be\"",
        "it is a member of pg_write_all_data",
    ),
    (
        "source",
        "GRANT CREATE ON DATABASE billing TO \"pro be\"",
        "CREATE on database billing",
    ),
    (
        "source/orders",
        "GRANT INSERT, DELETE ON shop.items TO \"pro be\"",
        "DELETE, INSERT on table shop.items",
    ),
    (
        "source/orders",
        "GRANT UPDATE (note) ON shop.items TO \"pro be\"",
        "UPDATE (note) on table shop.items",
    ),
    (
        "source/orders",
        "GRANT USAGE ON SEQUENCE shop.numbers TO \"pro be\"",
        "USAGE on sequence shop.numbers",
    ),
    (
        "source/orders",
        "GRANT CREATE ON SCHEMA shop TO \"pro be\"",
        "CREATE on schema shop",
    ),
    (
        "source/orders",
        "ALTER TABLE shop.items OWNER TO \"pro be\"",
        "it owns table shop.items",
    ),
];

#[tokio::test]
async fn what_the_probe_role_may_do_beside_writing_its_table_is_named_with_what_takes_it_away() {
    let subject = Subject::start().await;
    let source = &subject.pair.source;
    for location in ["source", "source/orders"] {
        let clean = subject.finding(location).await;
        assert_ne!(clean.result, Outcome::Block, "{clean:#?}");
    }
    for &(location, statement, words) in RIGHTS {
        let datname = location.strip_prefix("source/").unwrap_or("postgres");
        source.execute(datname, &[statement]).await;
        let found = subject.finding(location).await;
        assert_eq!(found.result, Outcome::Block, "{statement}: {found:#?}");
        assert!(found.message.contains(words), "{statement}: {found:#?}");
        for evidence in &found.evidence {
            if evidence["everybodys"] == false {
                let take = evidence["take"].as_str().unwrap();
                assert!(found.remedy.contains(take), "{found:#?}");
                source.execute(datname, &[take]).await;
            }
        }
        let after = subject.finding(location).await;
        assert_ne!(after.result, Outcome::Block, "{statement}: {after:#?}");
    }
}

#[tokio::test]
async fn what_every_role_may_do_is_a_warning_and_many_things_are_counted() {
    let subject = Subject::start().await;
    let source = &subject.pair.source;
    let public = "GRANT TRUNCATE ON shop.items TO PUBLIC";
    source.execute("orders", &[public]).await;
    let found = subject.finding("source/orders").await;
    assert_eq!(found.result, Outcome::Warn, "{found:#?}");
    let revoke = "REVOKE TRUNCATE ON TABLE shop.items FROM PUBLIC";
    assert!(found.remedy.contains(revoke), "{found:#?}");

    let many = "DO $$ BEGIN FOR n IN 1..25 LOOP \
                  EXECUTE format('CREATE TABLE shop.t%s (id int)', n); \
                  EXECUTE format('GRANT INSERT ON shop.t%s TO \"pro be\"', n); \
                END LOOP; END $$";
    source.execute("orders", &[many]).await;
    let found = subject.finding("source/orders").await;
    assert_eq!(found.result, Outcome::Block, "{found:#?}");
    assert!(found.message.contains("on table shop.t"), "{found:#?}");
    assert!(found.message.contains("; and "), "{found:#?}");
    assert!(found.message.ends_with(" more"), "{found:#?}");
}

#[tokio::test]
async fn the_control_role_is_no_probe_role() {
    let mut subject = Subject::start().await;
    subject.declare("postgres");
    let found = subject.finding("source").await;
    assert_eq!(found.result, Outcome::Block, "{found:#?}");
    assert!(
        found.message.contains("names the control role"),
        "{found:#?}"
    );
}

/// A source that declares the probe role `pro be`, and has something to write.
struct Subject {
    pair: Pair,
    setting: Setting,
}

impl Subject {
    async fn start() -> Self {
        let pair = Pair::start().await;
        let everywhere = [
            "CREATE DATABASE orders",
            "CREATE DATABASE billing",
            "CREATE ROLE app",
            "CREATE ROLE \"pro be\" LOGIN",
        ];
        pair.source.execute("postgres", &everywhere).await;
        let in_orders = [
            "CREATE SCHEMA shop",
            "GRANT USAGE ON SCHEMA shop TO \"pro be\"",
            "CREATE TABLE shop.items (id int PRIMARY KEY, note text)",
            "CREATE SEQUENCE shop.numbers",
        ];
        pair.source.execute("orders", &in_orders).await;
        let setting = Setting::of(&pair);
        let mut subject = Self { pair, setting };
        subject.declare("'pro be'");
        subject
    }

    fn declare(&mut self, role: &str) {
        for server in [&mut self.setting.source, &mut self.setting.target] {
            server.probe = Some(format!("host=127.0.0.1 user={role}"));
        }
    }

    /// What G4 finds at `location`.
    async fn finding(&self, location: &str) -> Finding {
        replayed(&self.pair.source, &self.setting).await;
        let report = self.setting.preflight().await;
        find(&report, "G4", location).clone()
    }
}
