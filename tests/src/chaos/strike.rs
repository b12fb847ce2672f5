//! How a strike happens, and how it is mended.

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use pointsman_lab::gate::Gate;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    notes::Notes,
    plan::{Blow, Link, Party, Strike},
    stage::Stage,
};

/// All of a phase that begins now; returns once everything is mended.
pub(super) async fn all(stage: &Stage, notes: &Notes, strikes: &[Strike]) -> Result<()> {
    try_join_all(strikes.iter().map(|strike| one(stage, notes, strike))).await?;
    Ok(())
}

async fn one(stage: &Stage, notes: &Notes, strike: &Strike) -> Result<()> {
    let Strike { after, blow, lasts } = *strike;
    sleep(after).await;
    notes.struck(blow);
    let until = Instant::now() + lasts;
    let struck = match blow {
        Blow::Kill(Party::ControlPlane) => control_plane(stage, until).await,
        Blow::Kill(Party::Source) => server(stage, stage.serving, until).await,
        Blow::Kill(Party::Target) => server(stage, 1 - stage.serving, until).await,
        Blow::Kill(Party::Sidecar(number)) => sidecar(stage, number, until).await,
        Blow::Sever(link) => cut(stage, link, until, Gate::sever).await,
        Blow::Silence(link) => cut(stage, link, until, Gate::black_hole).await,
    };
    struck.with_context(|| format!("after {blow}"))?;
    notes.tell(format!("mended: {blow}"));
    Ok(())
}

async fn control_plane(stage: &Stage, until: Instant) -> Result<()> {
    stage.control_plane.lock().await.kill9().await?;
    sleep_until(until).await;
    stage.control_plane.lock().await.restart().await
}

/// A supervisor starts it again, unless somebody has given their word that it stays down.
async fn server(stage: &Stage, number: usize, until: Instant) -> Result<()> {
    let server = &stage.servers[number];
    server.crash().await?;
    sleep_until(until).await;
    if stage.is_retired(number) {
        return Ok(());
    }
    match server.start().await {
        Err(_) if stage.is_retired(number) => Ok(()),
        started => started,
    }
}

async fn sidecar(stage: &Stage, number: usize, until: Instant) -> Result<()> {
    let mut sidecar = stage.sidecars[number].lock().await;
    sidecar.kill().await?;
    sleep_until(until).await;
    sidecar.restart().await
}

async fn cut(stage: &Stage, link: Link, until: Instant, happens: impl Fn(&Gate)) -> Result<()> {
    let gates = stage.gates.of(link, stage.serving);
    gates.iter().for_each(|gate| happens(gate));
    sleep_until(until).await;
    gates.iter().for_each(|gate| gate.restore());
    Ok(())
}
