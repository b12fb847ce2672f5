//! Whether servers and routes stand as this migration left them.

use super::{Failure, Problem, Run};

/// The source may be fenced for the reverse stream only while writers are sent to the target, and
/// while the source carries the fence of this migration.
pub(super) async fn of_a_bake(run: &Run<'_>) -> Result<(), Failure> {
    let migration = run.migration;
    let (source, target) = (&migration.source, &migration.target);
    if let Some(elsewhere) = run.routes().not_served_by(target).await? {
        return Err(by_hand(format!(
            "{elsewhere}, and not by {target}: somebody moved the routes by hand, so nothing is done \
             to {source} any more"
        )));
    }
    of_the_source(run).await
}

/// The source carries the fence of this migration.
pub(super) async fn of_the_source(run: &Run<'_>) -> Result<(), Failure> {
    let migration = run.migration;
    let (source, target) = (&migration.source, &migration.target);
    let server = run.ports.catalog.server(source).await?;
    let provider = run.ports.providers.of(&server)?;
    match provider.fence_record(&server).await? {
        Some(record) if record.migration == migration.name && record.server == *source => Ok(()),
        Some(other) => Err(by_hand(format!(
            "{source} carries the fence of migration {:?}, at epoch {}",
            other.migration, other.epoch
        ))),
        None => Err(by_hand(format!(
            "{source} carries no fence of this migration any more: somebody opened it by hand, and what \
             was written there is not on {target}"
        ))),
    }
}

/// Nothing that closes the source, or serves the target, is done while writers are sent to the
/// source.
pub(super) async fn source_is_not_served(run: &Run<'_>) -> Result<(), Failure> {
    let Some(database) = run.routes().served_by(&run.migration.source).await? else {
        return Ok(());
    };
    let (source, target) = (&run.migration.source, &run.migration.target);
    Err(Failure::condition(format!(
        "writers of {database} are sent to {source}, so it is not closed; send them to {target} first \
         (flip {database} --to {target} --force)"
    )))
}

/// Before a switch has changed anything, writers are sent to the source, unless somebody moved them.
pub(super) async fn writers_are_where_they_were(run: &Run<'_>) -> Result<(), Failure> {
    let (source, target) = (&run.migration.source, &run.migration.target);
    let Some(elsewhere) = run.routes().not_served_by(source).await? else {
        return Ok(());
    };
    Err(Failure::condition(format!(
        "{elsewhere}, and not by {source}, from which the switch to {target} begins; send writers to {source} first \
         (flip DATABASE --to {source} --force)"
    )))
}

fn by_hand(message: String) -> Failure {
    Failure::new(Problem::MovedByHand, message)
}
