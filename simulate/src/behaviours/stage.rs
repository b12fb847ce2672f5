//! A pair of servers, and what others than the engine do on it.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use pointsman_catalog::Server;
use pointsman_cutover::{
    machine::Side,
    ports::{
        ControlId, ControlledServer, DatabaseProvider, Exempt, FenceRecord, FenceToken,
        FormerSettings, Marker, PromoteAnswer, ProviderError,
    },
};

/// `blue`, a primary with databases `orders` and `billing`, and `green`, its standby.
#[async_trait]
pub trait Stage: Send + Sync {
    /// What is under test.
    fn provider(&self) -> Arc<dyn DatabaseProvider>;

    /// The server as the catalogue has it.
    fn server(&self, side: Side) -> Server;

    /// A session of the role of applications, `app`; or the server's words.
    async fn connect(&self, side: Side, datname: &str) -> Result<Box<dyn Client>, String>;

    /// How many rows applications have written there.
    async fn rows(&self, side: Side, datname: &str) -> Result<u64>;

    /// Somebody else opens the database.
    async fn lift(&self, side: Side, datname: &str) -> Result<()>;

    /// Lets time pass.
    async fn pause(&self, time: Duration);
}

/// A session that ends when it is dropped.
#[async_trait]
pub trait Client: Send + Sync {
    /// Commits one row; or the server's words.
    async fn insert(&mut self) -> Result<(), String>;
}

pub(super) const SOON: Duration = Duration::from_secs(10);

pub(super) fn moving() -> Vec<String> {
    crate::server::MOVING.map(str::to_owned).to_vec()
}

/// Both servers under control.
pub(super) struct Both {
    pub(super) source: ControlledServer,
    pub(super) target: ControlledServer,
    pub(super) exempt: Exempt,
}

/// A closed source.
pub(super) struct Closed {
    pub(super) record: FenceRecord,
    pub(super) marker: Marker,
}

pub(super) async fn attach(
    stage: &dyn Stage,
    side: Side,
    epoch: u64,
) -> Result<ControlledServer, ProviderError> {
    let migration = "m".to_owned();
    let control = ControlId { migration, epoch };
    stage.provider().attach(&stage.server(side), &control).await
}

/// Both servers under control of epoch 1, prepared, with their sessions open.
pub(super) async fn prepared(stage: &dyn Stage) -> Result<Both> {
    let source = attach(stage, Side::Source, 1).await?;
    let target = attach(stage, Side::Target, 1).await?;
    source.sessions()?.open_databases(&moving()).await?;
    let exempt = source.preparation()?.prepare(&moving()).await?;
    let made = source.wal_proof()?.flush().await?;
    target.replication()?.await_replay(made, SOON).await?;
    for server in [&source, &target] {
        server.sessions()?.open_databases(&moving()).await?;
    }
    Ok(Both {
        source,
        target,
        exempt,
    })
}

pub(super) async fn request(server: &ControlledServer, epoch: u64) -> Result<FenceRecord> {
    Ok(FenceRecord {
        migration: "m".to_owned(),
        epoch,
        server: server.name().clone(),
        timeline: server.observe().await?.timeline,
        promoted_by_api: false,
        promote_within: SOON,
        former: FormerSettings::default(),
    })
}

/// Closes `server`, ends its sessions, and leaves the marker.
pub(super) async fn close(server: &ControlledServer) -> Result<Closed> {
    let wanted = request(server, 1).await?;
    let former = server.fence()?.close(&wanted).await?;
    server.sessions()?.await_starting_backends().await?;
    server.sessions()?.end_sessions(&[], SOON).await?;
    let marker = server.wal_proof()?.marker("m/1", &[]).await?;
    let record = FenceRecord { former, ..wanted };
    Ok(Closed { record, marker })
}

pub(super) fn token(marker: &Marker) -> Result<FenceToken> {
    Ok(FenceToken {
        server: "blue".parse()?,
        system_identifier: crate::server::SYSTEM.to_owned(),
        timeline: 1,
        marker: marker.clone(),
        epoch: 1,
    })
}

/// A promoted target behind a closed source.
pub(super) async fn promoted(both: &Both) -> Result<Closed> {
    let closed = close(&both.source).await?;
    promote(&both.target, &closed.marker).await?;
    Ok(closed)
}

pub(super) async fn promote(target: &ControlledServer, marker: &Marker) -> Result<()> {
    target.replication()?.await_replay(marker.lsn, SOON).await?;
    let deadline = target.observe().await?.clock.plus(SOON);
    let promotion = target.guarded_promotion()?;
    let answer = promotion.promote(token(marker)?, deadline).await?;
    ensure!(answer == PromoteAnswer::Asked, "{answer:?}");
    promotion.await_primary(SOON).await?;
    Ok(())
}

/// Looks again and again until it holds.
pub(super) async fn eventually(
    stage: &dyn Stage,
    what: &str,
    mut holds: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    for _ in 0..LOOKS {
        if holds().await? {
            return Ok(());
        }
        stage.pause(BETWEEN_LOOKS).await;
    }
    bail!("not within {LOOKS} looks: {what}")
}

const LOOKS: u32 = 1000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
