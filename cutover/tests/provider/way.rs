//! The whole way forward, and back over the reverse stream.

use pointsman_catalog::FenceLevel;
use pointsman_cutover::ports::{
    AccessRules, Armed, ConnectionAttempt, ControlledServer, Exempt, FenceRecord, Finding, Look,
    ReverseSlot,
};

use crate::{
    pair::{MOVING, Pair, Session, provider, until},
    roles::{
        fence, guarded_promotion, preparation, probe_table, replication, reverse_publisher,
        reverse_subscriber, sessions, wal_proof,
    },
    verbs::{
        SOON, breaches, close, found, moving, prepared, promote, request, subscriptions, token,
    },
};

#[tokio::test]
async fn a_pair_moves_forward_and_back_without_losing_a_row() {
    let pair = Pair::start(FenceLevel::SqlHba).await;
    let serving = pair.source.hba();
    let (source, target, exempt) = prepared(&pair).await;
    for datname in MOVING {
        insert(&pair.source.connect("app", datname).await.unwrap(), 3).await;
    }

    let (record, since) = moved_forward(&source, &target, &exempt).await;
    let slots = primed_and_opened(&target, &record, &since, &exempt).await;
    assert_eq!(pair.target.fence_record().await, None);
    let idle = pair.target.connect("app", "idle").await.err().unwrap();
    assert!(
        idle.contains("not currently accepting connections"),
        "{idle}"
    );
    for datname in MOVING {
        insert(&pair.target.connect("app", datname).await.unwrap(), 5).await;
    }

    let armed = proven_stream(&pair, &source, &target, &slots).await;

    delivered(&target, &slots).await;
    moved_back(&source, &target, &record, &armed).await;
    assert_eq!(pair.source.hba(), serving, "pg_hba.conf differs");
    for datname in MOVING {
        let session = pair.source.connect("app", datname).await.unwrap();
        session
            .run("INSERT INTO items (words) VALUES ('back')")
            .await;
        assert_eq!(session.ask("SELECT count(*) FROM items").await, "9");
        let newest = "SELECT words FROM items ORDER BY id DESC LIMIT 1";
        assert_eq!(
            session.ask(newest).await,
            "back",
            "a sequence stayed behind"
        );
    }
    pair.source.connect("boss", "idle").await.unwrap();
    assert_eq!(pair.source.fence_record().await, None);

    taken_down(&source, &target, &slots).await;
    let rest = pair.source.connect("postgres", "orders").await.unwrap();
    let left = "SELECT count(*) FROM pg_publication, pg_subscription";
    assert_eq!(rest.ask(left).await, "0");
}

/// From the closing of the source to a promoted, closed target, and from where on proofs on
/// that one count.
pub(crate) async fn moved_forward(
    source: &ControlledServer,
    target: &ControlledServer,
    exempt: &Exempt,
) -> (FenceRecord, Look) {
    let record = close(source, 2, &[]).await;
    assert_eq!(breaches(source, &record, &[]).await, [""; 0]);
    let refusal = sessions(source).try_connect("orders").await.unwrap();
    assert!(
        matches!(refusal, ConnectionAttempt::Refused { .. }),
        "{refusal:?}"
    );
    let marker = wal_proof(source).marker("m/2", &[]).await.unwrap();
    promote(target, &marker).await;
    let finding = found(source, &marker.look, exempt).await;
    assert_eq!(finding, Finding::Unwritten);
    let observed = target.observe().await.unwrap();
    assert!(!observed.in_recovery && observed.timeline == 2);
    let fork = observed.replayed.unwrap();
    assert!(fork >= marker.lsn);
    (record, marker.look.on_promoted(fork))
}

pub(crate) async fn primed_and_opened(
    target: &ControlledServer,
    record: &FenceRecord,
    since: &Look,
    exempt: &Exempt,
) -> Vec<ReverseSlot> {
    sessions(target).await_starting_backends().await.unwrap();
    sessions(target).end_sessions(&[], SOON).await.unwrap();
    let slots = reverse_publisher(target)
        .create_slots(&moving())
        .await
        .unwrap();
    assert_eq!(
        slots,
        reverse_publisher(target)
            .create_slots(&moving())
            .await
            .unwrap()
    );
    assert_eq!(found(target, since, exempt).await, Finding::Unwritten);
    let idle = ["idle".to_owned()];
    fence(target).reopen(&record.former, &idle).await.unwrap();
    slots
}

/// Arms twice, as after a crash, and sees a row of each database arrive.
async fn proven_stream(
    pair: &Pair,
    source: &ControlledServer,
    target: &ControlledServer,
    slots: &[ReverseSlot],
) -> Armed {
    fence(source)
        .await_access_rules(AccessRules::Fenced, SOON)
        .await
        .unwrap();
    let armed = reverse_subscriber(source)
        .arm(&subscriptions(pair, slots))
        .await
        .unwrap();
    assert_eq!(armed.nologin_roles, ["boss", "repl"]);
    let again = reverse_subscriber(source)
        .arm(&subscriptions(pair, slots))
        .await
        .unwrap();
    assert_eq!(again, armed, "a second arming forgets what the first took");
    for datname in moving() {
        probe_table(target).write_probe(&datname, 7).await.unwrap();
        until("the probe row over the reverse stream", async || {
            probe_table(source).read_probe(&datname).await.unwrap() == Some(7)
        })
        .await;
    }
    for role in ["app", "boss"] {
        let error = pair.source.connect(role, "orders").await.err().unwrap();
        assert!(error.contains("pg_hba.conf rejects connection"), "{error}");
    }
    armed
}

/// Closes the target and waits until the source has everything.
pub(crate) async fn delivered(target: &ControlledServer, slots: &[ReverseSlot]) {
    let back = close(target, 3, slots).await;
    assert_eq!(breaches(target, &back, slots).await, [""; 0]);
    let marker = wal_proof(target).marker("m/3", &moving()).await.unwrap();
    until("the subscribers' confirmation of the marker", async || {
        let progress = reverse_publisher(target)
            .slot_progress(slots)
            .await
            .unwrap();
        progress.len() == 2
            && progress
                .iter()
                .all(|slot| slot.streaming && slot.confirmed >= marker.lsn)
    })
    .await;
}

/// From a closed target to an open source, with the sequences and rules that it needs.
async fn moved_back(
    source: &ControlledServer,
    target: &ControlledServer,
    record: &FenceRecord,
    armed: &Armed,
) {
    for datname in moving() {
        let values = reverse_publisher(target).sequences(&datname).await.unwrap();
        reverse_subscriber(source)
            .set_sequences(&datname, &values)
            .await
            .unwrap();
    }
    reverse_subscriber(source)
        .disable_subscriptions(&moving())
        .await
        .unwrap();
    fence(source)
        .restore_access_rules(&record.former)
        .await
        .unwrap();
    fence(source)
        .await_access_rules(AccessRules::Former, SOON)
        .await
        .unwrap();
    reverse_subscriber(source)
        .restore_logins(armed)
        .await
        .unwrap();
    fence(source).reopen(&record.former, &[]).await.unwrap();
}

/// Removes everything that the migration made, twice as after a crash.
async fn taken_down(source: &ControlledServer, target: &ControlledServer, slots: &[ReverseSlot]) {
    for _ in 0..2 {
        reverse_subscriber(source)
            .drop_subscriptions(&moving())
            .await
            .unwrap();
        reverse_publisher(target).drop_slots(slots).await.unwrap();
    }
    preparation(source).unprepare(&moving()).await.unwrap();
}

#[tokio::test]
async fn a_dry_run_shows_the_statements_and_changes_nothing() {
    use pointsman_cutover::ports::{ControlId, Recorder};

    let pair = Pair::start(FenceLevel::SqlHba).await;
    let serving = pair.source.hba();
    let (real, target, _) = prepared(&pair).await;
    let before = real.observe().await.unwrap();
    let recorder = Recorder::default();
    let control = ControlId {
        migration: "m".to_owned(),
        epoch: 2,
    };
    let paper = provider().recording(recorder.clone());
    let source = paper.attach(&pair.source.server(), &control).await.unwrap();
    let standby = paper.attach(&pair.target.server(), &control).await.unwrap();

    let closed = fence(&source)
        .close(&request(&source, 2).await)
        .await
        .unwrap();
    assert_eq!(closed.databases, before.databases);
    let marker = wal_proof(&source).marker("m/2", &[]).await.unwrap();
    let deadline = standby.observe().await.unwrap().clock.plus(SOON);
    guarded_promotion(&standby)
        .promote(token(&marker), deadline)
        .await
        .unwrap();
    reverse_publisher(&standby)
        .create_slots(&moving())
        .await
        .unwrap();
    fence(&standby).reopen(&closed, &[]).await.unwrap();

    let lines = recorder.lines().join("\n");
    for statement in [
        "ALTER DATABASE \"idle\" ALLOW_CONNECTIONS false",
        "ALTER DATABASE \"postgres\" CONNECTION LIMIT 0",
        "THEN pg_promote(false) END",
        "pg_create_logical_replication_slot('pointsman_rb_",
        "ALTER DATABASE \"orders\" ALLOW_CONNECTIONS true CONNECTION LIMIT -1",
    ] {
        assert!(lines.contains(statement), "{statement} is not in:\n{lines}");
    }
    assert_eq!(real.observe().await.unwrap().databases, before.databases);
    assert!(replication(&target).replay().await.unwrap().in_recovery);
    assert_eq!(pair.source.hba(), serving);
    assert_eq!(pair.source.fence_record().await, None);
}

pub(crate) async fn insert(session: &Session, rows: u32) {
    session
        .run(&format!(
            "INSERT INTO items (words) SELECT 'row' FROM generate_series(1, {rows})"
        ))
        .await;
}
