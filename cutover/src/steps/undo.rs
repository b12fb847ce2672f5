//! Back to where the switch began, by proof.

mod forward;
mod reverse;
mod without_target;

use std::time::Duration;

use super::{Failure, Run};
use crate::{machine::Side, ports::FormerSettings};

pub(super) use forward::run as forward;
pub(super) use reverse::run as reverse;

/// The former settings as the fence left them in the server; a crash can have lost the
/// journal's copy, never the server's.
async fn recorded(run: &Run<'_>, side: Side) -> Result<Option<FormerSettings>, Failure> {
    let migration = run.migration;
    let name = migration.server(side);
    let server = run.ports.catalog.server(name).await?;
    let provider = run.ports.providers.of(&server)?;
    let record = provider.fence_record(&server).await?;
    let ours = record.filter(|record| record.migration == migration.name && record.server == *name);
    Ok(ours
        .map(|record| record.former)
        .or_else(|| migration.facts.closed(side).cloned()))
}

/// The pause between two tries of a server that does not answer.
const RETRY: Duration = Duration::from_millis(50);
