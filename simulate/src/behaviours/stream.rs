//! From the new writer back to the old one.

use anyhow::{Result, ensure};
use pointsman_cutover::{
    machine::Side,
    ports::{BreachKind, ReverseSlot, SubscriptionSpec, WalReach},
};

use super::stage::{Both, Closed, SOON, Stage, eventually, moving, prepared, promoted, request};

/// The target serves, and the source is armed.
struct Streaming {
    both: Both,
    closed: Closed,
    slots: Vec<ReverseSlot>,
}

async fn streaming(stage: &dyn Stage) -> Result<Streaming> {
    let both = prepared(stage).await?;
    let closed = promoted(&both).await?;
    let slots = both
        .target
        .reverse_publisher()?
        .create_slots(&moving())
        .await?;
    both.target
        .fence()?
        .reopen(&closed.record.former, &[])
        .await?;
    let link = both.target.replication()?.standby_link().await?;
    both.source
        .replication()?
        .cut_off_standby(&link.slot.unwrap_or_default())
        .await?;
    let specs: Vec<_> = slots
        .iter()
        .map(|slot| SubscriptionSpec {
            datname: slot.datname.clone(),
            slot: slot.slot.clone(),
            publisher: stage.server(Side::Target),
        })
        .collect();
    both.source.reverse_subscriber()?.arm(&specs).await?;
    both.target.probe_table()?.write_probe("orders", 7).await?;
    let source = &both.source;
    eventually(stage, "the probe row arrives", async || {
        Ok(source.probe_table()?.read_probe("orders").await? == Some(7))
    })
    .await?;
    // A fence ends the worker of a slot that still catches up, and keeps it out.
    let publisher = both.target.reverse_publisher()?;
    eventually(stage, "every slot streams", async || {
        let progress = publisher.slot_progress(&slots).await?;
        Ok(progress.len() == slots.len() && progress.iter().all(|slot| slot.streaming))
    })
    .await?;
    Ok(Streaming {
        both,
        closed,
        slots,
    })
}

async fn insert(stage: &dyn Stage, side: Side) -> Result<()> {
    let connected = stage.connect(side, "orders").await;
    let mut client = connected.map_err(anyhow::Error::msg)?;
    client.insert().await.map_err(anyhow::Error::msg)
}

/// Dropping what is not there is no error.
pub async fn a_slot_is_made_once_and_found_again(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    promoted(&both).await?;
    let publisher = both.target.reverse_publisher()?;
    ensure!(publisher.slots_there(&moving()).await?.is_empty());
    let first = publisher.create_slots(&moving()).await?;
    let names = |slots: &[ReverseSlot]| -> Vec<String> {
        let mut names: Vec<_> = slots.iter().map(|slot| slot.slot.clone()).collect();
        names.sort();
        names
    };
    let again = publisher.create_slots(&moving()).await?;
    let there = publisher.slots_there(&moving()).await?;
    ensure!(names(&first) == names(&again) && names(&first) == names(&there));
    ensure!(publisher.missing(&first).await?.is_empty());
    // A subscription to a publication that is not there is made with a warning and never works.
    both.target.preparation()?.unprepare(&moving()).await?;
    let missing = publisher.missing(&first).await?;
    let said = missing
        .iter()
        .all(|it| it.contains("publication of database"));
    ensure!(said && missing.len() == first.len(), "{missing:?}");
    for _ in 0..2 {
        publisher.drop_slots(&first).await?;
    }
    ensure!(publisher.slots_there(&moving()).await?.is_empty());
    ensure!(publisher.missing(&first).await?.len() == first.len());
    ensure!(publisher.slot_progress(&first).await?.is_empty());
    Ok(())
}

/// Rows and sequences, each by its own way.
pub async fn what_the_target_writes_arrives_on_the_source(stage: &dyn Stage) -> Result<()> {
    let Streaming { both, slots, .. } = &streaming(stage).await?;
    insert(stage, Side::Target).await?;
    let written = stage.rows(Side::Target, "orders").await?;
    eventually(stage, "the row arrives", async || {
        Ok(stage.rows(Side::Source, "orders").await? == written)
    })
    .await?;
    let publisher = both.target.reverse_publisher()?;
    eventually(
        stage,
        "every slot has confirmed what there was",
        async || {
            let progress = publisher.slot_progress(slots).await?;
            Ok(progress
                .iter()
                .all(|slot| slot.streaming && slot.behind_bytes() == 0))
        },
    )
    .await?;
    let values = publisher.sequences("orders").await?;
    let set = both
        .source
        .reverse_subscriber()?
        .set_sequences("orders", &values)
        .await?;
    ensure!(set == values.len() && set > 0, "{set} of {values:?}");
    Ok(())
}

/// The control role apart.
pub async fn an_armed_source_lets_nobody_else_in(stage: &dyn Stage) -> Result<()> {
    let Streaming { both, closed, .. } = &streaming(stage).await?;
    ensure!(stage.connect(Side::Source, "orders").await.is_err());
    let fence = both.source.fence()?;
    let breaches = fence.bake_breaches(&closed.record, &moving()).await?;
    ensure!(breaches.is_empty(), "{breaches:?}");
    stage.lift(Side::Source, "orders").await?;
    let breaches = fence.bake_breaches(&closed.record, &moving()).await?;
    let opened = breaches
        .iter()
        .any(|breach| breach.kind == BreachKind::Opened);
    ensure!(opened, "{breaches:?}");
    Ok(())
}

/// And its marker arrives.
pub async fn the_fence_spares_the_slot_that_streams(stage: &dyn Stage) -> Result<()> {
    let Streaming { both, slots, .. } = &streaming(stage).await?;
    let target = &both.target;
    let wanted = request(target, 1).await?;
    let former = target.fence()?.close(&wanted).await?;
    target.sessions()?.await_starting_backends().await?;
    target.sessions()?.end_sessions(slots, SOON).await?;
    let record = pointsman_cutover::ports::FenceRecord { former, ..wanted };
    let breaches = target.fence()?.breaches(&record, slots).await?;
    ensure!(breaches.is_empty(), "{breaches:?}");
    let marker = target.wal_proof()?.marker("m/1", &moving()).await?;
    let publisher = target.reverse_publisher()?;
    eventually(stage, "every slot has confirmed its marker", async || {
        let progress = publisher.slot_progress(slots).await?;
        Ok(progress.len() == slots.len()
            && progress.iter().all(|slot| slot.confirmed >= marker.lsn))
    })
    .await?;
    let proof = target.wal_proof()?;
    let proof = proof.prove_unwritten(&marker.look, &both.exempt).await?;
    ensure!(
        proof.finding == pointsman_cutover::ports::Finding::Unwritten,
        "{proof:?}"
    );
    Ok(())
}

/// What came by the stream is no stranger's.
pub async fn the_watch_tells_strangers_from_the_stream(stage: &dyn Stage) -> Result<()> {
    let Streaming { both, closed, .. } = &streaming(stage).await?;
    insert(stage, Side::Target).await?;
    let written = stage.rows(Side::Target, "orders").await?;
    eventually(stage, "the row arrives", async || {
        Ok(stage.rows(Side::Source, "orders").await? == written)
    })
    .await?;
    let proof = both.source.wal_proof()?;
    let since = WalReach::from(&closed.marker.look);
    let quiet = proof.user_writes(&since, &both.exempt, &[], SOON).await?;
    let Some(quiet) = quiet else {
        // Its WAL can be read by nobody.
        return Ok(());
    };
    ensure!(quiet.commits.is_empty() && quiet.unread == 0, "{quiet:?}");
    let values = both.target.reverse_publisher()?.sequences("orders").await?;
    both.source
        .reverse_subscriber()?
        .set_sequences("orders", &values)
        .await?;
    stage.lift(Side::Source, "orders").await?;
    insert(stage, Side::Source).await?;
    let seen = proof
        .user_writes(&quiet.through, &both.exempt, &[], SOON)
        .await?;
    ensure!(seen.is_some_and(|seen| !seen.commits.is_empty()));
    Ok(())
}
