//! Whether nobody wrote.

use anyhow::{Result, ensure};
use pointsman_cutover::{
    machine::Side,
    ports::{Finding, ProviderError},
};

use super::stage::{Both, Closed, SOON, Stage, close, moving, prepared};

async fn found(both: &Both, closed: &Closed) -> Result<Finding> {
    let proof = both.source.wal_proof()?;
    let proof = proof
        .prove_unwritten(&closed.marker.look, &both.exempt)
        .await?;
    Ok(proof.finding)
}

/// Rows of before do not count.
pub async fn nobody_wrote_is_proved_where_nobody_did(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let connected = stage.connect(Side::Source, "orders").await;
    let mut client = connected.map_err(anyhow::Error::msg)?;
    client.insert().await.map_err(anyhow::Error::msg)?;
    let closed = close(&both.source).await?;
    let finding = found(&both, &closed).await?;
    ensure!(finding == Finding::Unwritten, "{finding:?}");
    Ok(())
}

/// Whoever it was.
pub async fn a_strangers_commit_behind_the_marker_is_counted(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let closed = close(&both.source).await?;
    stage.lift(Side::Source, "orders").await?;
    let connected = stage.connect(Side::Source, "orders").await;
    let mut client = connected.map_err(anyhow::Error::msg)?;
    client.insert().await.map_err(anyhow::Error::msg)?;
    drop(client);
    close(&both.source).await?;
    match found(&both, &closed).await? {
        // By ids nobody can say what it was.
        Finding::Written(_) | Finding::Unproven(_) => Ok(()),
        finding @ (Finding::Unwritten | Finding::Accepted(_)) => anyhow::bail!("{finding:?}"),
    }
}

/// Closing again, markers, proofs.
pub async fn what_the_engine_itself_does_is_not_counted(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let closed = close(&both.source).await?;
    close(&both.source).await?;
    for _ in 0..2 {
        let finding = found(&both, &closed).await?;
        ensure!(finding == Finding::Unwritten, "{finding:?}");
    }
    let marker = both.source.wal_proof()?.marker("m/1", &moving()).await?;
    ensure!(marker.look.own.len() == moving().len(), "{marker:?}");
    ensure!(marker.lsn > closed.marker.lsn);
    Ok(())
}

/// A server that was taken down already is not opened again.
pub async fn without_its_table_no_transaction_is_the_engines(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let closed = close(&both.source).await?;
    let former = &closed.record.former;
    both.source.fence()?.reopen(former, &[]).await?;
    both.source.preparation()?.unprepare(&moving()).await?;
    let opened = both.source.fence()?.reopen(former, &[]).await;
    ensure!(
        matches!(opened, Err(ProviderError::Failed { .. })),
        "{opened:?}"
    );
    ensure!(!both.source.probe_table()?.is_there("orders").await?);
    both.source.preparation()?.prepare(&moving()).await?;
    both.source.fence()?.reopen(former, &[]).await?;
    Ok(())
}

/// What was acknowledged before it lies below it.
pub async fn the_marker_reaches_the_standby(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let connected = stage.connect(Side::Source, "orders").await;
    let mut client = connected.map_err(anyhow::Error::msg)?;
    client.insert().await.map_err(anyhow::Error::msg)?;
    let before = stage.rows(Side::Source, "orders").await?;
    let marker = both.source.wal_proof()?.marker("m/1", &[]).await?;
    let replay = both
        .target
        .replication()?
        .await_replay(marker.lsn, SOON)
        .await?;
    ensure!(replay.in_recovery && replay.replayed >= marker.lsn);
    ensure!(stage.rows(Side::Target, "orders").await? >= before);
    Ok(())
}
