//! Who writes on a server that is watched, and what going back from it would lose, by its WAL.

use pointsman_catalog::FenceLevel;
use pointsman_cutover::ports::{UserCommit, UserWrites, WalReach};

use crate::{
    pair::Pair,
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
