use pointsman_catalog::ServerName;
use serde_json::json;

use super::{RETRY, recorded, without_target};
use crate::{
    machine::{Assertion, Side, Step},
    migration::{Learned, Migration},
    ports::AccessRules,
    steps::{
        Failure, Proof, Run,
        outcome::with_learned,
        routes::{Readers, convergence_message},
        shut::{self, Shut},
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
    // It was about to open. Where it does not answer now, arming closes it again, with proof.
    let shut = match step >= Step::Promote {
        true => Some(shut::source(run).await),
        false => None,
    };
    if step >= Step::Fence {
        reopen_target(run).await?;
    }
    let served = serve_target(run).await;
    let served = match step >= Step::Fence {
        true => with_learned(served, Learned::TargetOpened),
        false => served,
    };
    match shut {
        None => served,
        Some(shut) => told(served?, shut, &run.migration.source),
    }
}

/// Says what became of the source, and what it means for the way back.
fn told(served: Proof, shut: Result<Shut, Failure>, source: &ServerName) -> Result<Proof, Failure> {
    let (said, learned) = match shut {
        Err(failure) => (
            Some(format!(
                "{source} is not closed again: {}; that is tried until it is proved",
                failure.message
            )),
            failure.learned,
        ),
        Ok(shut) => (shut.gap, shut.learned),
    };
    let message = match said {
        Some(said) => format!("{}; {said}", served.message),
        None => served.message.clone(),
    };
    let told = Proof { message, ..served };
    Ok(learned.into_iter().fold(told, Proof::learning))
}

async fn serve_target(run: &Run<'_>) -> Result<Proof, Failure> {
    let target = &run.migration.target;
    let publication = run.routes().serve(target, Readers::OnTarget).await?;
    let convergence = run.routes().converge(&publication).await;
    Ok(Proof::new(
        format!("{target} serves on; {}", convergence_message(&convergence)),
        json!({
            "sequence": publication.sequence,
            "convergence": convergence,
        }),
    ))
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
