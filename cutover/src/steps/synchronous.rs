//! Commits that wait for standbys which a switch takes away.

use std::time::Duration;

use super::{Failure, Run};
use crate::ports::{ControlledServer, ProviderError};

/// Commits on `server`, which is about to be opened, wait for no standby that is not there. Returns
/// what was replaced, in words.
pub(super) async fn release(
    run: &Run<'_>,
    server: &ControlledServer,
) -> Result<Option<String>, Failure> {
    let replication = server.replication()?;
    let found = replication.synchronous().await?;
    let names = found.names.trim();
    if names.is_empty() || found.enough {
        return Ok(None);
    }
    replicates(run, server, "").await?;
    Ok(Some(format!(
        "commits on {} wait for no standby: synchronous_standby_names was '{names}', and those that it wants \
         are not connected",
        server.name()
    )))
}

/// Gives the target, which is closed and left, the names back that it had before the switch.
pub(super) async fn give_back(run: &Run<'_>, target: &ControlledServer) -> Result<(), Failure> {
    let Some(former) = run.migration.facts.former_synchronous() else {
        return Ok(());
    };
    if target.replication()?.synchronous().await?.names != former {
        replicates(run, target, former).await?;
    }
    Ok(())
}

/// Gives the target, which serves, the names back that it had before the switch, once as many of those
/// standbys stream from it as they want.
///
/// Somebody else's setting stays.
pub(crate) async fn set_again(run: &mut Run<'_>) -> Result<SetAgain, Failure> {
    let Some(former) = run.migration.facts.former_synchronous() else {
        return Ok(SetAgain::NothingToDo);
    };
    let target = run.target().await?;
    let replication = target.replication()?;
    if !replication.synchronous().await?.names.trim().is_empty() {
        return Ok(SetAgain::NothingToDo);
    }
    if !replication.has_connected(former).await? {
        return Ok(SetAgain::NotYet);
    }
    replicates(run, &target, former).await?;
    Ok(SetAgain::Done(format!(
        "commits on {} wait for standbys again: synchronous_standby_names is '{former}', as before the \
         switch, and those that it wants are connected",
        target.name()
    )))
}

/// What became of a setting that was emptied.
#[derive(Debug)]
pub(crate) enum SetAgain {
    /// It was not emptied, or is another one now.
    NothingToDo,
    NotYet,
    /// In words.
    Done(String),
}

/// What is left of it at the end, in words.
pub(super) async fn left_empty(
    run: &Run<'_>,
    target: &ControlledServer,
) -> Result<Option<String>, Failure> {
    let Some(former) = run.migration.facts.former_synchronous() else {
        return Ok(None);
    };
    let now = target.replication()?.synchronous().await?.names;
    Ok(now.trim().is_empty().then(|| {
        format!(
            "synchronous_standby_names on {} is empty and was '{former}' before the switch: set it again \
             once those standbys are connected",
            target.name()
        )
    }))
}

/// Waits until a new setting is in force for sessions that begin then.
pub(super) async fn replicates(
    run: &Run<'_>,
    server: &ControlledServer,
    names: &str,
) -> Result<(), ProviderError> {
    let replication = server.replication()?;
    replication.wait_for_standbys(names).await?;
    let deadline = run.clock().deadline(RELOAD);
    loop {
        let found = replication.synchronous().await?.names;
        if found == names {
            return Ok(());
        }
        if deadline.has_passed() {
            return Err(ProviderError::TimedOut {
                server: server.name().clone(),
                what: format!("synchronous_standby_names = '{names}'"),
                waited: RELOAD,
                found: format!("it is '{found}'"),
            });
        }
        run.clock().sleep(POLL).await;
    }
}

/// How long a reload may take.
const RELOAD: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);
