//! What `start` made goes with the migration's end, and a step that a crash made run again finds it
//! gone.

use super::{Failure, sessions::enter};
use crate::ports::{ControlledServer, FormerSettings, ProviderError};

/// The source keeps nothing of the migration. Its publication would refuse UPDATE and DELETE on
/// a table without a replica identity.
pub(super) async fn take_down(source: &ControlledServer, moving: &[String]) -> Result<(), Failure> {
    source.sessions()?.open_databases(moving).await?;
    source.preparation()?.unprepare(moving).await?;
    Ok(())
}

/// Opens a closed `server`. An attempt that was cut off may have opened it and taken the
/// fence's table down: it is made again first.
pub(super) async fn reopen(
    server: &ControlledServer,
    former: &FormerSettings,
    moving: &[String],
) -> Result<(), ProviderError> {
    let opened = server.fence()?.reopen(former, &[]).await;
    let refused = matches!(opened, Err(ProviderError::Failed { .. }));
    if refused && is_taken_down(server, moving).await.unwrap_or(false) {
        server.preparation()?.prepare(moving).await?;
        server.fence()?.reopen(former, &[]).await?;
        return Ok(());
    }
    opened.map(drop)
}

/// Makes the probe tables again where an attempt that was cut off has taken them down.
pub(super) async fn prepare_again(
    source: &ControlledServer,
    moving: &[String],
) -> Result<(), ProviderError> {
    if is_taken_down(source, moving).await? {
        source.preparation()?.prepare(moving).await?;
    }
    Ok(())
}

async fn is_taken_down(
    server: &ControlledServer,
    moving: &[String],
) -> Result<bool, ProviderError> {
    enter(server, moving).await?;
    for datname in moving {
        if !server.probe_table()?.is_there(datname).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
