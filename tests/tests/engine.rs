//! The engine on real PostgreSQL, without sidecars.

#[path = "engine/adversaries.rs"]
mod adversaries;
#[path = "engine/support.rs"]
mod support;
#[path = "engine/walsender.rs"]
mod walsender;

use anyhow::Result;
use pointsman_cutover::machine::State;

use support::{World, WorldOptions, story};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_moves_forward_and_back() -> Result<()> {
    let world = World::new(WorldOptions::default()).await?;
    world.started().await?;
    let status = world.engine.switch("m").await?;
    println!("{}", story(&status));
    assert!(matches!(status.migration.state, State::Baking { .. }));
    let status = world
        .until("the reverse stream is proven", |s| {
            s.reverse_stream() == "proven"
        })
        .await?;
    println!("{}", story(&status));
    let app = world.pair.target.client_as("app", "orders").await?;
    app.execute("INSERT INTO writes (client, number) VALUES (1, 1)", &[])
        .await?;
    let status = world.engine.rollback("m", false).await?;
    println!("{}", story(&status));
    assert_eq!(status.migration.state, State::RolledBack);
    let app = world.pair.source.client_as("app", "orders").await?;
    let row = app.query_one("SELECT count(*) FROM writes", &[]).await?;
    assert_eq!(row.get::<_, i64>(0), 1);
    app.execute("INSERT INTO writes (client, number) VALUES (1, 2)", &[])
        .await?;
    Ok(())
}
