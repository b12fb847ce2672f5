use serde_json::json;

use super::{RETRY, recorded, without_target};
use crate::{
    machine::{Assertion, Side, Step},
    migration::{Learned, Migration},
    ports::AccessRules,
    steps::{
        Failure, Proof, Run, fence,
        outcome::with_learned,
        routes::{Readers, convergence_message},
        standing,
    },
};

/// The target, which served when the rollback began, serves again.
pub(in crate::steps) async fn run(run: &mut Run<'_>, step: Step) -> Result<Proof, Failure> {
    let mut refuted = "nothing had been changed".to_owned();
    if run.migration.machine.holds(Assertion::TargetDown) {
        if let Some(opened) = without_target::open_source(run).await? {
            return Ok(opened);
        }
        let Migration { source, target, .. } = run.migration;
        refuted = format!("{target} answers, so it is not down, and {source} stays closed");
    }
    standing::source_is_not_served(run).await?;
    if step == Step::Prepare {
        return Ok(Proof::new(refuted, json!({})));
    }
    let mut left_open = None;
    if step >= Step::Promote {
        // It was about to open. Where it does not answer now, arming closes it again.
        let closed = close_source(run).await;
        left_open = closed.err().map(|failure| failure.message);
    }
    if step < Step::Fence {
        return serve_target(run, left_open).await;
    }
    reopen_target(run).await?;
    let served = serve_target(run, left_open).await;
    with_learned(served, Learned::TargetOpened)
}

async fn serve_target(run: &Run<'_>, left_open: Option<String>) -> Result<Proof, Failure> {
    let target = &run.migration.target;
    let publication = run.routes().serve(target, Readers::OnTarget).await?;
    let convergence = run.routes().converge(&publication).await;
    Ok(Proof::new(
        format!("{target} serves on; {}", convergence_message(&convergence)),
        json!({
            "sequence": publication.sequence,
            "convergence": convergence,
            "source_not_closed": left_open,
        }),
    ))
}

async fn close_source(run: &mut Run<'_>) -> Result<(), Failure> {
    let record = fence::record(run, Side::Source)?;
    let wait = run.budgets.source.end_sessions;
    let source = run.source().await?;
    source.fence()?.close(&record).await?;
    source.sessions()?.await_starting_backends().await?;
    source.sessions()?.end_sessions(&[], wait).await?;
    Ok(())
}

async fn reopen_target(run: &mut Run<'_>) -> Result<(), Failure> {
    let clock = run.clock();
    let give_up = clock.deadline(run.settings.undo);
    loop {
        match try_reopen_target(run).await {
            Err(failure) if failure.is_unanswered() && !give_up.has_passed() => {
                run.sessions.clear();
                clock.sleep(RETRY).await;
            }
            outcome => break outcome,
        }
    }
}

async fn try_reopen_target(run: &mut Run<'_>) -> Result<(), Failure> {
    run.target().await?;
    let closed = recorded(run, Side::Target).await?;
    let staying = run.migration.staying_closed();
    let wait = run.budgets.target.end_sessions;
    let target = run.target().await?;
    let Some(closed) = closed else {
        return Ok(());
    };
    target.fence()?.restore_access_rules(&closed).await?;
    target
        .fence()?
        .await_access_rules(AccessRules::Former, wait)
        .await?;
    Ok(target.fence()?.reopen(&closed, &staying).await?)
}
