//! What a fence closes, and who goes.

use anyhow::{Result, ensure};
use pointsman_cutover::{
    machine::Side,
    ports::{BreachKind, ConnectionAttempt, ProviderError},
};

use super::stage::{SOON, Stage, attach, close, moving, prepared, promoted, request};

/// A connection that never reached a server is none of these.
pub async fn a_closed_database_refuses_in_words_that_name_the_fence(
    stage: &dyn Stage,
) -> Result<()> {
    let both = prepared(stage).await?;
    let sessions = both.source.sessions()?;
    let before = sessions.try_connect("orders").await?;
    ensure!(before == ConnectionAttempt::Accepted, "{before:?}");
    close(&both.source).await?;
    let after = sessions.try_connect("orders").await?;
    ensure!(after.is_fenced(), "{after:?}");
    let refused = stage.connect(Side::Source, "orders").await.err();
    let refused = refused.unwrap_or_default();
    let said = ["not currently accepting connections", "pg_hba.conf"];
    ensure!(
        said.iter().any(|words| refused.contains(words)),
        "{refused:?}"
    );
    Ok(())
}

/// Its own sessions stay.
pub async fn a_fence_leaves_nobody_who_was_there(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let connected = stage.connect(Side::Source, "orders").await;
    let mut client = connected.map_err(anyhow::Error::msg)?;
    client.insert().await.map_err(anyhow::Error::msg)?;
    let closed = close(&both.source).await?;
    ensure!(
        client.insert().await.is_err(),
        "a session survived the fence"
    );
    let breaches = both.source.fence()?.breaches(&closed.record, &[]).await?;
    ensure!(breaches.is_empty(), "{breaches:?}");
    both.source.observe().await?;
    Ok(())
}

/// The second time the fence itself is in force.
pub async fn closing_twice_gives_the_settings_of_before(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let first = close(&both.source).await?;
    let second = close(&both.source).await?;
    ensure!(first.record == second.record, "{:?}", second.record);
    let open = first.record.former.databases.iter();
    let open = open.filter(|it| it.allow_connections).count();
    ensure!(open >= 3, "{:?}", first.record.former);
    Ok(())
}

/// Neither may it take control.
pub async fn an_older_leader_may_not_close(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let newer = request(&both.source, 5).await?;
    both.source.fence()?.close(&newer).await?;
    let older = request(&both.source, 4).await?;
    let closed = both.source.fence()?.close(&older).await;
    ensure!(
        matches!(closed, Err(ProviderError::Superseded { .. })),
        "{closed:?}"
    );
    let attached = attach(stage, Side::Source, 4).await;
    ensure!(
        matches!(attached, Err(ProviderError::Superseded { .. })),
        "{attached:?}"
    );
    Ok(())
}

/// What the older one sends then is not done.
pub async fn a_newer_leader_ends_the_sessions_of_an_older_one(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let wanted = request(&both.source, 1).await?;
    let newer = attach(stage, Side::Source, 2).await?;
    let closed = both.source.fence()?.close(&wanted).await;
    ensure!(
        matches!(closed, Err(ProviderError::Unreachable { .. })),
        "{closed:?}"
    );
    ensure!(newer.sessions()?.try_connect("orders").await? == ConnectionAttempt::Accepted);
    Ok(())
}

/// Nobody would end it.
pub async fn a_leader_that_was_ended_opens_no_other_session(stage: &dyn Stage) -> Result<()> {
    let older = attach(stage, Side::Source, 1).await?;
    attach(stage, Side::Source, 2).await?;
    let opened = older.sessions()?.open_databases(&moving()).await;
    ensure!(
        matches!(opened, Err(ProviderError::Unreachable { .. })),
        "{opened:?}"
    );
    Ok(())
}

/// Each by its kind.
pub async fn an_opened_database_and_a_session_are_breaches(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let closed = close(&both.source).await?;
    stage.lift(Side::Source, "orders").await?;
    let connected = stage.connect(Side::Source, "orders").await;
    let mut client = connected.map_err(anyhow::Error::msg)?;
    client.insert().await.map_err(anyhow::Error::msg)?;
    let breaches = both.source.fence()?.breaches(&closed.record, &[]).await?;
    for kind in [BreachKind::Opened, BreachKind::Session] {
        ensure!(
            breaches.iter().any(|breach| breach.kind == kind),
            "{breaches:?}"
        );
    }
    let again = close(&both.source).await?;
    ensure!(client.insert().await.is_err());
    let breaches = both.source.fence()?.breaches(&again.record, &[]).await?;
    ensure!(breaches.is_empty(), "{breaches:?}");
    Ok(())
}

/// It travels in WAL.
pub async fn the_closure_reaches_the_standby(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let closed = close(&both.source).await?;
    let marker = closed.marker.lsn;
    both.target
        .replication()?
        .await_replay(marker, SOON)
        .await?;
    let databases = both.target.observe().await?.databases;
    let open = databases.iter().filter(|it| it.allow_connections);
    let open: Vec<_> = open.map(|it| it.datname.as_str()).collect();
    ensure!(open == ["postgres"], "{open:?}");
    ensure!(stage.connect(Side::Target, "orders").await.is_err());
    Ok(())
}

/// Settings, and the record is gone.
pub async fn a_reopened_server_is_as_it_was(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let before = both.source.observe().await?.databases;
    let closed = close(&both.source).await?;
    let blue = stage.server(Side::Source);
    let record = stage.provider().fence_record(&blue).await?;
    ensure!(record.is_some_and(|record| record.former == closed.record.former));
    both.source
        .fence()?
        .reopen(&closed.record.former, &[])
        .await?;
    let after = both.source.observe().await?.databases;
    ensure!(before == after, "{after:?}");
    ensure!(stage.provider().fence_record(&blue).await?.is_none());
    let connected = stage.connect(Side::Source, "orders").await;
    let mut client = connected.map_err(anyhow::Error::msg)?;
    client.insert().await.map_err(anyhow::Error::msg)
}

/// The others open.
pub async fn what_is_kept_closed_stays_so(stage: &dyn Stage) -> Result<()> {
    let both = prepared(stage).await?;
    let closed = close(&both.source).await?;
    let kept = ["billing".to_owned()];
    both.source
        .fence()?
        .reopen(&closed.record.former, &kept)
        .await?;
    ensure!(stage.connect(Side::Source, "orders").await.is_ok());
    ensure!(stage.connect(Side::Source, "billing").await.is_err());
    Ok(())
}

/// It died with its sessions, and its successor has none.
pub async fn a_leader_enters_a_closed_primary_and_shuts_the_door_behind_it(
    stage: &dyn Stage,
) -> Result<()> {
    let both = prepared(stage).await?;
    let closed = promoted(&both).await?;
    let next = attach(stage, Side::Target, 2).await?;
    let opened = next.sessions()?.open_databases(&moving()).await;
    ensure!(
        matches!(opened, Err(ProviderError::Closed { .. })),
        "{opened:?}"
    );
    next.sessions()?.reenter_databases(&moving()).await?;
    next.reverse_publisher()?.create_slots(&moving()).await?;
    let breaches = next.fence()?.breaches(&closed.record, &[]).await?;
    ensure!(breaches.is_empty(), "{breaches:?}");
    ensure!(stage.connect(Side::Target, "orders").await.is_err());
    Ok(())
}
