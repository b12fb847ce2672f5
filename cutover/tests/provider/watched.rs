//! Who writes on a server that is watched, and what going back from it would lose, by its WAL.

use futures_util::join;
use pointsman_catalog::FenceLevel;
use pointsman_cutover::ports::{UserCommit, UserWrites, WalReach};
use pointsman_lab::{gate::Gate, postgres::Hosting};

use crate::{
    pair::Pair,
    proof::quiet,
    roles::wal_proof,
    verbs::{SOON, moving, prepared},
};

const INSERT: &str = "INSERT INTO items (words) VALUES ('x')";

#[tokio::test]
async fn whoever_writes_is_named_once_with_the_database_and_the_engine_is_not() {
    let pair = Pair::start(FenceLevel::Sql).await;
    if !pair.source.offers_walinspect().await {
        return;
    }
    pair.let_read_wal().await;
    let (source, _target, exempt) = prepared(&pair).await;
    let proof = wal_proof(&source);
    let marker = proof.marker("m/2", &[]).await.unwrap();
    let since = async |reach: &WalReach| -> UserWrites {
        let writes = proof
            .user_writes(reach, &exempt, &moving(), SOON)
            .await
            .unwrap();
        let writes = writes.unwrap();
        assert_eq!(writes.unread, 0);
        writes
    };
    let quiet = since(&WalReach::from(&marker.look)).await;
    assert_eq!((quiet.commits, quiet.through.open), (vec![], vec![]));
    assert!(quiet.through.lsn >= marker.lsn);
    let app = pair.source.connect("app", "orders").await.unwrap();
    app.run(&format!("BEGIN; {INSERT}")).await;
    let xid: u32 = app
        .ask("SELECT pg_current_xact_id()")
        .await
        .parse()
        .unwrap();
    let begun = since(&WalReach::from(&marker.look)).await;
    assert_eq!(
        (begun.commits, begun.through.open.clone()),
        (vec![], vec![xid])
    );
    app.run(&format!("{INSERT}; COMMIT")).await;
    let committed = since(&begun.through).await;
    let commit = UserCommit {
        xid,
        databases: vec!["orders".to_owned()],
    };
    assert_eq!(committed.commits, [commit]);
    assert_eq!(committed.through.open, [0_u32; 0]);
    app.run(&format!("BEGIN; {INSERT}; ROLLBACK")).await;
    proof.note_breach("database orders is open").await.unwrap();
    let nobody = since(&committed.through).await;
    assert_eq!((nobody.commits, nobody.through.open), (vec![], vec![]));
    let lost = proof.user_commits(marker.lsn, &exempt).await.unwrap();
    assert_eq!(lost, Some(1));
    app.run(INSERT).await;
    let lost = proof.user_commits(marker.lsn, &exempt).await.unwrap();
    assert_eq!(lost, Some(2));
}

/// The next look begins there: a record that lay across it would be read by neither.
#[tokio::test]
async fn a_look_ends_where_a_record_ends() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let source = &pair.source;
    // The gate reads no TLS.
    if source.hosting() == Hosting::Managed || !source.offers_walinspect().await {
        return;
    }
    let (_, _, exempt) = prepared(&pair).await;
    quiet(source).await;
    let gate = Gate::start(source.address()).await.unwrap();
    let control = source.attach_through(&gate, 2).await;
    let proof = wal_proof(&control);
    let marker = proof.marker("m/2", &[]).await.unwrap();
    let since = WalReach::from(&marker.look);
    let moving = moving();
    let looks = gate.hold_at("AS position OFFSET 0");
    let meanwhile = async {
        looks.within(SOON).await.unwrap();
        source.flush_half_a_record().await;
        gate.release();
    };
    let look = proof.user_writes(&since, &exempt, &moving, SOON);
    let (look, ()) = join!(look, meanwhile);
    let through = look.unwrap().unwrap().through.lsn;
    let end = proof.flush().await.unwrap();
    let across = format!(
        "SELECT count(*) FROM pointsman.pg_get_wal_records_info('{}', '{end}') \
         WHERE start_lsn < '{through}' AND end_lsn > '{through}'",
        marker.lsn
    );
    let session = source.connect("postgres", "postgres").await.unwrap();
    assert_eq!(session.ask(&across).await, "0", "{through}");
}
