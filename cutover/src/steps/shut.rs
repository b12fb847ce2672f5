//! The source, which a rollback let superusers into, is closed again, and proved like a fence.

use super::{
    Failure, Run, fence,
    prove::{FenceCheck, check},
    standing,
};
use crate::{machine::Side, migration::Learned};

/// A source that is closed again.
#[derive(Debug, Default)]
pub(super) struct Shut {
    pub(super) learned: Vec<Learned>,
    /// What was written there meanwhile, or may have been.
    pub(super) gap: Option<String>,
}

/// Closes the source and ends everybody. What was written there since it let somebody in is on no
/// other server.
pub(super) async fn source(run: &mut Run<'_>) -> Result<Shut, Failure> {
    let facts = &run.migration.facts;
    let since = facts.stream()?.admitted.clone();
    let wait = run.budgets.source.end_sessions;
    let source = run.source().await?;
    let by_hand = standing::of_the_source(run).await.err();
    let record = fence::close_again(run, Side::Source, &source).await?;
    source.sessions()?.end_sessions(&[], wait).await?;
    let mut shut = Shut::default();
    if let Some(failure) = by_hand {
        shut.gap = Some(failure.message);
    } else if let Some(since) = since {
        match check(&source, &record, &[], &since, facts.exempt()).await? {
            FenceCheck::Holds(_) => {}
            FenceCheck::Unproven(found) => shut.learned.push(Learned::NotProven(found)),
            FenceCheck::Written(found) | FenceCheck::Broken(found) => shut.gap = Some(found),
        }
    }
    shut.learned.push(Learned::SourceShut {
        gap: shut.gap.clone(),
    });
    Ok(shut)
}
