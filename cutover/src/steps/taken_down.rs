//! What `start` made on the source goes with the migration's end, and a step that a crash made
//! run again finds it gone.

use super::{Failure, sessions::enter};
use crate::ports::{ControlledServer, FormerSettings, ProviderError};

/// The source keeps nothing of the migration. Its publication would refuse UPDATE and DELETE on
/// a table without a replica identity.
pub(super) async fn take_down(source: &ControlledServer, moving: &[String]) -> Result<(), Failure> {
    source.sessions()?.open_databases(moving).await?;
    source.preparation()?.unprepare(moving).await?;
    Ok(())
}

/// Opens the closed `source`. An attempt that was cut off may have opened it and taken the
/// fence's table down: it is made again first.
pub(super) async fn reopen(
    source: &ControlledServer,
    former: &FormerSettings,
    moving: &[String],
) -> Result<(), ProviderError> {
    let opened = source.fence()?.reopen(former, &[]).await;
    let refused = matches!(opened, Err(ProviderError::Failed { .. }));
    if refused && is_taken_down(source, moving).await.unwrap_or(false) {
        source.preparation()?.prepare(moving).await?;
        source.fence()?.reopen(former, &[]).await?;
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
    source: &ControlledServer,
    moving: &[String],
) -> Result<bool, ProviderError> {
    enter(source, moving).await?;
    for datname in moving {
        if !source.probe_table()?.is_there(datname).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
