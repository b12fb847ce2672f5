//! Under which conditions a standby becomes a primary.

use anyhow::{Result, ensure};
use pointsman_catalog::UnixMillis;
use pointsman_cutover::{
    Lsn,
    machine::Side,
    ports::{Marker, PromoteAnswer},
};

use super::stage::{SOON, Stage, close, eventually, prepared, promote, promoted, token};

/// It would come up open.
pub async fn an_open_database_is_not_promoted(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let marker = both.source.wal_proof()?.marker("m/1", &[]).await?;
    both.target
        .replication()?
        .await_replay(marker.lsn, SOON)
        .await?;
    let deadline = both.target.observe().await?.clock.plus(SOON);
    let promotion = both.target.guarded_promotion()?;
    let answer = promotion.promote(token(&marker)?, deadline).await?;
    ensure!(answer == PromoteAnswer::Refused, "{answer:?}");
    ensure!(both.target.observe().await?.in_recovery);
    Ok(())
}

/// By its own clock.
pub async fn a_late_promotion_is_refused(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let marker = close(&both.source).await?.marker;
    both.target
        .replication()?
        .await_replay(marker.lsn, SOON)
        .await?;
    // The clock is read in milliseconds, and rounded: the next request may come in the same one.
    let now = both.target.observe().await?.clock;
    let passed = UnixMillis(now.0 - 2);
    let promotion = both.target.guarded_promotion()?;
    let answer = promotion.promote(token(&marker)?, passed).await?;
    ensure!(answer == PromoteAnswer::Refused, "{answer:?}");
    ensure!(both.target.observe().await?.in_recovery);
    Ok(())
}

/// One that lies ahead of all WAL is never replayed.
pub async fn a_promotion_waits_for_the_marker(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let marker = close(&both.source).await?.marker;
    both.target
        .replication()?
        .await_replay(marker.lsn, SOON)
        .await?;
    let ahead = Marker {
        lsn: Lsn(marker.lsn.0 + (1 << 30)),
        ..marker
    };
    let deadline = both.target.observe().await?.clock.plus(SOON);
    let promotion = both.target.guarded_promotion()?;
    let answer = promotion.promote(token(&ahead)?, deadline).await?;
    ensure!(answer == PromoteAnswer::Refused, "{answer:?}");
    Ok(())
}

/// Timeline and fork, and a second request changes nothing.
pub async fn a_promoted_server_names_its_fork(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let marker = promoted(&both).await?.marker;
    let observed = both.target.observe().await?;
    ensure!(
        !observed.in_recovery && observed.timeline == 2,
        "{observed:?}"
    );
    ensure!(
        observed.replayed.is_some_and(|fork| fork >= marker.lsn),
        "{observed:?}"
    );
    let again = both.target.guarded_promotion()?;
    let again = again
        .promote(token(&marker)?, observed.clock.plus(SOON))
        .await?;
    ensure!(again == PromoteAnswer::AlreadyPrimary, "{again:?}");
    let replay = both
        .target
        .replication()?
        .await_replay(marker.lsn, SOON)
        .await?;
    ensure!(!replay.in_recovery);
    ensure!(
        stage.connect(Side::Target, "orders").await.is_err(),
        "it came up open"
    );
    Ok(())
}

/// So they must be ended before the slots are made.
pub async fn a_session_on_the_standby_can_write_after_the_promotion(
    stage: &dyn Stage,
) -> Result<()> {
    let both = prepared(stage).await?;
    let connected = stage.connect(Side::Target, "orders").await;
    let mut reader = connected.map_err(anyhow::Error::msg)?;
    ensure!(reader.insert().await.is_err(), "a standby took a write");
    let marker = close(&both.source).await?.marker;
    promote(&both.target, &marker).await?;
    reader.insert().await.map_err(anyhow::Error::msg)?;
    let ended = both.target.sessions()?.end_sessions(&[], SOON).await?;
    ensure!(ended >= 1, "{ended}");
    ensure!(reader.insert().await.is_err());
    Ok(())
}

/// Not even of the opening.
pub async fn a_standby_that_is_cut_off_hears_no_more(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let closed = close(&both.source).await?;
    both.target
        .replication()?
        .await_replay(closed.marker.lsn, SOON)
        .await?;
    let link = both.target.replication()?.standby_link().await?;
    ensure!(link.restore_command.is_empty());
    let slot = link.slot.unwrap_or_default();
    for _ in 0..2 {
        both.source.replication()?.cut_off_standby(&slot).await?;
    }
    both.source
        .fence()?
        .reopen(&closed.record.former, &[])
        .await?;
    let opened = both.source.wal_proof()?.marker("m/1", &[]).await?;
    eventually(stage, "the source serves", async || {
        Ok(stage.connect(Side::Source, "orders").await.is_ok())
    })
    .await?;
    stage.pause(std::time::Duration::from_millis(200)).await;
    let replay = both.target.replication()?.replay().await?;
    ensure!(
        replay.in_recovery && replay.replayed < opened.lsn,
        "{replay:?}"
    );
    ensure!(stage.connect(Side::Target, "orders").await.is_err());
    Ok(())
}

/// The one that is to be promoted apart: it is told by its slot.
pub async fn a_standby_is_listed_and_told_from_others_by_its_slot(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let source = both.source.replication()?;
    let all = source.other_standbys(None).await?;
    ensure!(all.len() == 1, "{all:?}");
    let link = both.target.replication()?.standby_link().await?;
    let others = source.other_standbys(link.slot.as_deref()).await?;
    ensure!(others.is_empty(), "{others:?}");
    let of_target = both.target.replication()?.other_standbys(None).await?;
    ensure!(of_target.is_empty(), "{of_target:?}");
    Ok(())
}

/// What it waits for is in force a little later.
pub async fn commits_wait_for_a_standby_that_is_named_and_connected(
    stage: &dyn Stage,
) -> Result<()> {
    let both = prepared(stage).await?;
    let source = both.source.replication()?;
    let before = source.synchronous().await?;
    ensure!(before.names.is_empty(), "{before:?}");
    let all = source.other_standbys(None).await?;
    let standby = all.first().map(String::as_str).unwrap_or_default();
    for (names, enough) in [(standby, true), ("nobody", false), ("", false)] {
        source.wait_for_standbys(names).await?;
        eventually(stage, "the setting is in force", async || {
            let found = source.synchronous().await?;
            Ok(found.names == names && (names.is_empty() || found.enough == enough))
        })
        .await?;
    }
    let connected = stage.connect(Side::Source, "orders").await;
    let mut client = connected.map_err(anyhow::Error::msg)?;
    client.insert().await.map_err(anyhow::Error::msg)
}
