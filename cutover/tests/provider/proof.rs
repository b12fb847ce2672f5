//! Both proofs that nobody wrote, against each other and against what was done.

use pointsman_catalog::FenceLevel;
use pointsman_cutover::ports::{ControlId, ControlledServer, Exempt, Finding, Look, ProofMethod};
use tokio::task::JoinSet;

use crate::{
    pair::{Pair, Running, Session, provider, until},
    roles::{fence, replication, sessions, wal_proof},
    verbs::{SOON, moving, prepared, request},
    writers::{EMPTIED, Is, Writer},
};

/// A quiet pair, each server as two migrations see it: one that cannot read WAL, and, from
/// PostgreSQL 15 on, one that can.
pub(crate) struct BothProofs {
    pub(crate) source: BothOn,
    target: BothOn,
    pub(crate) exempt: Exempt,
    pub(crate) pair: Pair,
}

/// The two of one server.
pub(crate) struct BothOn {
    ids: ControlledServer,
    records: Option<ControlledServer>,
}

impl BothProofs {
    pub(crate) async fn start() -> Self {
        let pair = Pair::start(FenceLevel::Sql).await;
        quiet(&pair.source).await;
        quiet(&pair.target).await;
        let (source, target, exempt) = prepared(&pair).await;
        let attached_to_both = async |migration: &str| {
            replayed(&source, &target).await;
            (
                attached(&pair.source, migration).await,
                attached(&pair.target, migration).await,
            )
        };
        let drop = "DROP EXTENSION IF EXISTS pg_walinspect";
        pair.source.execute("postgres", drop).await;
        let ids = attached_to_both("by-ids").await;
        pair.let_read_wal().await;
        let records = if pair.source.offers_walinspect().await {
            let (source, target) = attached_to_both("by-records").await;
            (Some(source), Some(target))
        } else {
            (None, None)
        };
        Self {
            source: BothOn {
                ids: ids.0,
                records: records.0,
            },
            target: BothOn {
                ids: ids.1,
                records: records.1,
            },
            exempt,
            pair,
        }
    }
}

/// What both proofs say of one window.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) ids: Finding,
    pub(crate) records: Option<Finding>,
}

impl Found {
    /// Whether this is what they must say of one transaction.
    fn is(&self, is: Is) -> bool {
        let by_ids = match is {
            Is::Written | Is::Id => stranger(&self.ids),
            Is::Nothing => self.ids == Finding::Unwritten,
        };
        let by_records = match (is, &self.records) {
            (_, None) => true,
            (Is::Written, Some(found)) => matches!(found, Finding::Written(_)),
            (Is::Id | Is::Nothing, Some(found)) => *found == Finding::Unwritten,
        };
        by_ids && by_records
    }
}

impl BothOn {
    pub(crate) async fn look(&self) -> Look {
        let marker = wal_proof(&self.ids).marker("m/2", &[]).await;
        marker.unwrap().look
    }

    pub(crate) async fn found(&self, since: &Look, exempt: &Exempt) -> Found {
        let ids = by(ProofMethod::TransactionIds, &self.ids, since, exempt).await;
        let records = match &self.records {
            Some(records) => Some(by(ProofMethod::WalRecords, records, since, exempt).await),
            None => None,
        };
        Found { ids, records }
    }
}

async fn attached(server: &Running, migration: &str) -> ControlledServer {
    let control = ControlId {
        migration: migration.to_owned(),
        epoch: 1,
    };
    let attached = provider().attach(&server.server(), &control).await.unwrap();
    sessions(&attached).open_databases(&moving()).await.unwrap();
    attached
}

async fn replayed(source: &ControlledServer, target: &ControlledServer) {
    let position = wal_proof(source).flush().await.unwrap();
    let replayed = replication(target).await_replay(position, SOON).await;
    replayed.unwrap();
}

async fn by(
    method: ProofMethod,
    server: &ControlledServer,
    since: &Look,
    exempt: &Exempt,
) -> Finding {
    let proof = wal_proof(server).prove_unwritten(since, exempt).await;
    let proof = proof.unwrap();
    assert_eq!(proof.method, method);
    assert!(proof.through.xid > since.xid);
    proof.finding
}

/// Nobody collects statistics behind the test's back.
pub(crate) async fn quiet(server: &Running) {
    for setting in [
        "ALTER SYSTEM SET autovacuum = off",
        "SELECT pg_reload_conf()",
    ] {
        server.execute("postgres", setting).await;
    }
    let session = server
        .connect(server.superuser(), "postgres")
        .await
        .unwrap();
    let left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'autovacuum %'";
    until("autovacuum has ended", async || {
        session.ask(left).await == "0"
    })
    .await;
}

/// Whether ids are found. They are accepted where databases are there that cannot be closed.
pub(crate) fn stranger(finding: &Finding) -> bool {
    match finding {
        Finding::Unproven(strangers) | Finding::Accepted(strangers) => strangers.count > 0,
        Finding::Unwritten | Finding::Written(_) => false,
    }
}

/// Plants each kind between a marker and both proofs. Returns what they said.
async fn plant_each(server: &Running, both: &BothOn, exempt: &Exempt) -> String {
    // The first nextval after a checkpoint takes an id.
    server.execute("postgres", "CHECKPOINT").await;
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for mut writer in Writer::of_each_kind(server).await {
        writer.begin().await;
        let since = both.look().await;
        writer.write().await;
        let found = both.found(&since, exempt).await;
        writer.end().await;
        let line = format!("{:<52} {found:?}", writer.kind.name);
        if !found.is(writer.kind.is) {
            wrong.push(line.clone());
        }
        lines.push(line);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    lines.join("\n")
}

/// A VACUUM that has truncated, and whose commit waits for a standby that does not exist. A
/// snapshot leaves its id out: that it has not ended is seen by its lock alone.
async fn find_a_vacuum_that_has_not_ended(server: &Running, both: &BothOn, exempt: &Exempt) {
    let settings = server.connect("boss", "postgres").await.unwrap();
    let set = async |statement: &str| {
        settings.run(statement).await;
        settings.run("SELECT pg_reload_conf()").await;
    };
    set("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    let mut vacuum = waiting_vacuum(server, &settings).await;
    let id = "SELECT backend_xid FROM pg_stat_activity WHERE query LIKE 'VACUUM%'";
    let id: u64 = settings.ask(id).await.parse().unwrap();
    // Up to the last one that has ended a snapshot tells of every id.
    settings
        .run("BEGIN; SELECT pg_current_xact_id(); ROLLBACK")
        .await;
    let seen = settings.ask("SELECT pg_current_snapshot()").await;
    let ended = format!("SELECT pg_visible_in_snapshot('{id}', '{seen}')");
    assert_eq!(settings.ask(&ended).await, "true", "{id} is in {seen}");

    let since = both.look().await;
    assert!(since.open.contains(&id), "{id} is not open: {since:?}");
    let found = both.found(&since, exempt).await;
    assert!(found.is(Is::Id), "{found:?}");
    set("ALTER SYSTEM RESET synchronous_standby_names").await;
    vacuum.join_next().await.unwrap().unwrap();
    let found = both.found(&since, exempt).await;
    assert!(found.is(Is::Id), "{found:?}");
    let found = both.found(&both.look().await, exempt).await;
    assert!(found.is(Is::Nothing), "{found:?}");
}

/// Begins one VACUUM after the other, until the server has read the setting by which it waits.
async fn waiting_vacuum(server: &Running, settings: &Session) -> JoinSet<Session> {
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'VACUUM%' \
                 AND wait_event = 'SyncRep'";
    let mut boss = server.connect("boss", "orders").await.unwrap();
    let mut vacuums = JoinSet::new();
    loop {
        for statement in EMPTIED {
            boss.run(statement).await;
        }
        let vacuum = vacuums.spawn(async move {
            boss.run("VACUUM (TRUNCATE) emptied").await;
            boss
        });
        until("the VACUUM waits or ends", async || {
            vacuum.is_finished() || settings.ask(waits).await == "1"
        })
        .await;
        if !vacuum.is_finished() {
            return vacuums;
        }
        boss = vacuums.join_next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn each_kind_of_writer_is_found_on_the_source() {
    let both = BothProofs::start().await;
    let said = plant_each(&both.pair.source, &both.source, &both.exempt).await;
    println!("{said}");
    find_a_vacuum_that_has_not_ended(&both.pair.source, &both.source, &both.exempt).await;
}

#[tokio::test]
async fn each_kind_of_writer_is_found_on_the_promoted_target() {
    let both = BothProofs::start().await;
    let (server, exempt) = (&both.pair.target, &both.exempt);
    let survivor = server.connect("app", "orders").await.unwrap();
    let look = both.source.look().await;
    let target = &both.target;
    let replayed = replication(&target.ids).await_replay(look.lsn, SOON).await;
    replayed.unwrap();
    server.execute("postgres", "SELECT pg_promote()").await;
    let fork = target.ids.observe().await.unwrap().replayed.unwrap();
    let since = look.on_promoted(fork);
    let first = wal_proof(&target.ids).prove_unwritten(&since, exempt).await;
    assert_eq!(
        first.unwrap().through.xid,
        look.xid + 1,
        "the first id of its own"
    );
    let found = target.found(&since, exempt).await;
    assert!(found.is(Is::Nothing), "{found:?}");
    survivor
        .run("INSERT INTO items (words) VALUES ('reader')")
        .await;
    let found = target.found(&since, exempt).await;
    assert!(found.is(Is::Written), "{found:?}");

    println!("{}", plant_each(server, target, exempt).await);
    find_a_vacuum_that_has_not_ended(server, target, exempt).await;
}

#[tokio::test]
async fn what_former_leaders_did_is_the_engines_own() {
    let both = BothProofs::start().await;
    let since = both.source.look().await;
    // One leader after the other closes it, looks, and dies before it says so.
    for epoch in [2, 3] {
        let leader = both.pair.source.attach(epoch).await;
        let closing = request(&leader, epoch).await;
        fence(&leader).close(&closing).await.unwrap();
        wal_proof(&leader).marker("m", &[]).await.unwrap();
    }
    let found = both.source.found(&since, &both.exempt).await;
    assert!(found.is(Is::Nothing), "{found:?}");
}

#[tokio::test]
async fn a_record_that_is_longer_than_what_is_read_at_once_hides_nobody_behind_it() {
    let both = BothProofs::start().await;
    let app = both.pair.source.connect("app", "orders").await.unwrap();
    let since = both.source.look().await;
    // No transaction, one record: WAL is read in pieces of 4 MiB.
    app.run("SELECT pg_logical_emit_message(false, 'long', repeat('x', 9 << 20))")
        .await;
    let found = both.source.found(&since, &both.exempt).await;
    assert!(found.is(Is::Nothing), "{found:?}");
    app.run("INSERT INTO items (words) VALUES ('behind it')")
        .await;
    let found = both.source.found(&since, &both.exempt).await;
    assert!(found.is(Is::Written), "{found:?}");
}

#[tokio::test]
async fn a_crash_of_the_server_hides_nobody() {
    let mut both = BothProofs::start().await;
    let drop = "DROP EXTENSION IF EXISTS pg_walinspect";
    both.pair.source.execute("postgres", drop).await;
    let app = both.pair.source.connect("app", "orders").await.unwrap();
    let insert = "INSERT INTO items (words) VALUES ('x')";
    app.run(&format!("BEGIN; {insert}")).await;
    let unended = both.source.look().await;
    let other = both.pair.source.connect("app", "orders").await.unwrap();
    other.run(&format!("BEGIN; {insert}")).await;
    let since = both.source.look().await;
    both.pair.source.crash().await;
    // What had not ended is aborted, and what comes then goes on with the ids.
    let ids = attached(&both.pair.source, "by-ids").await;
    for since in [&unended, &since] {
        let found = by(ProofMethod::TransactionIds, &ids, since, &both.exempt).await;
        assert_eq!(found, Finding::Unwritten);
    }
    let app = both.pair.source.connect("app", "orders").await.unwrap();
    app.run(insert).await;
    both.pair.source.crash().await;
    let ids = attached(&both.pair.source, "by-ids").await;
    let found = by(ProofMethod::TransactionIds, &ids, &since, &both.exempt).await;
    assert!(stranger(&found), "{found:?}");
}
