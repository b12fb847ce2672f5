//! What must hold before an API is asked to promote. A guarded promotion has the server itself
//! look at this at the last moment; an API looks at nothing.

use serde_json::json;

use super::{Failure, Proof, Run, catch_up};
use crate::{
    lease,
    machine::Event,
    migration::{AskedPromotion, Learned, Migration},
    ports::{FenceRecord, FenceToken},
};

/// The lease is read again, and the target is a standby that has replayed the marker, is closed
/// by that, and is empty. So it comes up closed, however long the promotion takes. `None` where SQL
/// promotes the target.
pub(super) async fn before_the_request(
    run: &mut Run<'_>,
    record: &FenceRecord,
    token: &FenceToken,
) -> Result<Option<AskedPromotion>, Failure> {
    if run.managed_promotion().await?.is_none() {
        return Ok(None);
    }
    let (catalog, migration) = (&run.ports.catalog, &run.migration.name);
    lease::confirm(catalog, &token.system_identifier, migration).await?;
    let wait = run.budgets.target.catch_up;
    let target = run.target().await?;
    let replayed = catch_up::replayed(run.clock(), &target, token.marker.lsn, wait).await?;
    if let Some(breach) = target.fence()?.breaches(record, &[]).await?.first() {
        return Err(Failure::condition(format!(
            "{} would come up open or with sessions: {}",
            target.name(),
            breach.message
        )));
    }
    Ok(Some(AskedPromotion {
        at: run.clock().now(),
        replayed,
    }))
}

/// The step's proof, behind which an API is asked.
pub(super) fn followed_by_a_request(proof: Proof, asked: AskedPromotion) -> Proof {
    let proof = proof.learning(Learned::PromotionAsked(asked));
    Proof {
        event: Event::DoneManaged,
        ..proof
    }
}

/// The step `Promote` of a managed promotion: an operator chose to try it again, and nobody
/// knows any more whether a request was sent.
pub(super) fn observed_from_now_on(migration: &Migration) -> Proof {
    let message = format!("an API promotes {}: it is observed", migration.target);
    Proof {
        event: Event::DoneManaged,
        ..Proof::new(message, json!({}))
    }
}
