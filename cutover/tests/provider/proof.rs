//! Both proofs that nobody wrote, against each other and against what was done.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_catalog::{FenceLevel, UnixMillis};
use pointsman_cutover::ports::{
    Clock as _, ControlId, ControlledServer, Exempt, Finding, Look, ProofMethod, SystemClock,
};

use crate::{
    pair::{Pair, Running, provider, until},
    roles::{fence, replication, sessions, wal_proof},
    verbs::{SOON, moving, prepared, request},
    writers::{Is, Kind, Writer},
};

/// A quiet pair, each server as two migrations see it: one that cannot read WAL, and, from
/// PostgreSQL 15 on, one that can.
struct BothProofs {
    source: BothOn,
    target: BothOn,
    exempt: Exempt,
    pair: Pair,
}

/// The two of one server.
struct BothOn {
    ids: ControlledServer,
    records: Option<ControlledServer>,
}

impl BothProofs {
    async fn start() -> Self {
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
struct Found {
    ids: Finding,
    records: Option<Finding>,
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
    async fn look(&self) -> Look {
        let marker = wal_proof(&self.ids).marker("m/2", &[]).await;
        marker.unwrap().look
    }

    async fn found(&self, since: &Look, exempt: &Exempt) -> Found {
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
    let position = source.observe().await.unwrap().position;
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
async fn quiet(server: &Running) {
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
fn stranger(finding: &Finding) -> bool {
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

#[tokio::test]
async fn each_kind_of_writer_is_found_on_the_source() {
    let both = BothProofs::start().await;
    let said = plant_each(&both.pair.source, &both.source, &both.exempt).await;
    println!("{said}");
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
}

/// Small and seeded: the same number makes the same windows.
struct Random(u64);

impl Random {
    /// `xorshift64*`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).unwrap() % bound
    }
}

/// How many a test looks at, unless `POINTSMAN_WINDOWS` says otherwise.
const WINDOWS: u32 = 150;
/// In one window.
const MOST_WRITERS: usize = 4;

#[tokio::test]
async fn both_proofs_agree_in_random_windows() {
    let UnixMillis(now) = SystemClock::default().now();
    let seed = std::env::var("POINTSMAN_SEED").map_or(now, |seed| seed.parse().unwrap());
    let windows = std::env::var("POINTSMAN_WINDOWS").map_or(WINDOWS, |n| n.parse().unwrap());
    println!("POINTSMAN_SEED={seed} POINTSMAN_WINDOWS={windows}");
    let mut random = Random(seed.max(1));
    let both = BothProofs::start().await;
    let mut writers = Writer::of_each_kind(&both.pair.source).await;
    let mut tally: BTreeMap<&str, u32> = BTreeMap::new();
    for window in 1..=windows {
        let drawn = random.below(MOST_WRITERS + 1);
        let chosen: BTreeSet<_> = (0..drawn).map(|_| random.below(writers.len())).collect();
        for &writer in &chosen {
            writers[writer].begin().await;
        }
        let since = both.source.look().await;
        for &writer in &chosen {
            writers[writer].write().await;
        }
        let found = both.source.found(&since, &both.exempt).await;
        for &writer in &chosen {
            writers[writer].end().await;
        }
        let kinds: Vec<_> = chosen.iter().map(|&writer| writers[writer].kind).collect();
        let records_say = |written: bool| {
            let records = found.records.as_ref();
            records.is_none_or(|found| matches!(found, Finding::Written(_)) == written)
        };
        let any = |is: Is| kinds.iter().any(|kind| kind.is == is);
        let outcome = if any(Is::Written) {
            (stranger(&found.ids) && records_say(true)).then_some("both: somebody wrote")
        } else if stranger(&found.ids) {
            // An id does not say what was written: a false alarm, by design.
            (any(Is::Id) && records_say(false))
                .then_some("ids: somebody took an id; records: nobody wrote")
        } else {
            // Who else holds a lock keeps a VACUUM from truncating.
            let no_id = |kind: &&'static Kind| {
                kind.is == Is::Nothing || kind.name == "VACUUM that truncates"
            };
            (found.ids == Finding::Unwritten && kinds.iter().all(no_id) && records_say(false))
                .then_some("both: nobody wrote")
        };
        let kinds: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        let outcome =
            outcome.unwrap_or_else(|| panic!("seed {seed}, window {window}, {kinds:?}: {found:?}"));
        *tally.entry(outcome).or_default() += 1;
    }
    println!("{tally:#?}");
    assert_eq!(tally.len(), 3, "a kind of window never came");
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
