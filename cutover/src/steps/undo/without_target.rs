//! The source opens instead of a target that served and is down, by an operator's word.

use serde_json::json;

use super::recorded;
use crate::{
    machine::{Event, Side},
    migration::Migration,
    ports::{AccessRules, ControlledServer},
    steps::{
        Failure, Proof, Run, flip, others,
        routes::{Readers, convergence_message},
        sessions::enter,
        silence, slots, synchronous, taken_down,
    },
};

/// `None` where the target answers: it is not down, whatever was asserted, and nothing was changed.
///
/// The publish decides: before it nothing was opened, and the target serves as soon as it is back.
pub(super) async fn open_source(run: &mut Run<'_>) -> Result<Option<Proof>, Failure> {
    let silent = match silence::target_answers(run).await {
        Err(failure) if failure.is_silent() => failure.message,
        // An error is an answer of a server that is up, and so is that it starts.
        Ok(()) | Err(_) => return Ok(None),
    };
    others::none_promoted(run).await?;
    let Migration { source, target, .. } = run.migration;
    let moving = run.migration.moving();
    let server = run.source().await?;
    let former = recorded(run, Side::Source).await?;
    end_stream(run, &server, &moving).await?;
    // Before anybody takes a number that a row from the target has.
    let raised = raise_sequences(&server, &moving).await?;
    if let Some(former) = &former {
        let wait = run.budgets.source.end_sessions;
        server.fence()?.restore_access_rules(former).await?;
        server
            .fence()?
            .await_access_rules(AccessRules::Former, wait)
            .await?;
    }
    let released = synchronous::release(run, &server).await?;
    let publication = run.routes().serve(source, Readers::WithoutTarget).await?;
    if let Some(former) = &former {
        taken_down::reopen(&server, former, &moving).await?;
    }
    flip::first_write_on_source(run.clock(), &server, &moving).await?;
    let convergence = run.routes().converge(&publication).await;
    let mut message = format!(
        "{source} serves, by the word of an operator who asserted that {target} is down for good \
         ({silent}); what {target} acknowledged and {source} had not received is given up; {raised} \
         sequences were set behind the greatest value of their column; {}",
        convergence_message(&convergence)
    );
    if let Some(released) = released {
        message.push_str(&format!("; {released}"));
    }
    let mut left_behind = taken_down::take_down(&server, &moving).await.err();
    if let Err(error) = slots::drop_standby_slot(run, &server).await {
        left_behind.get_or_insert_with(|| error.into());
    }
    if let Err(failure) = run.routes().end_draining().await {
        left_behind.get_or_insert(failure);
    }
    if let Some(failure) = left_behind {
        let left = failure.message;
        message.push_str(&format!("; left behind, to be dropped by hand: {left}"));
    }
    let proof = Proof::new(
        message,
        json!({
            "sequence": publication.sequence,
            "epochs": publication.epochs,
            "convergence": convergence,
        }),
    );
    Ok(Some(Proof {
        event: Event::SourceOpened,
        ..proof
    }))
}

/// A target that comes back must not go on writing into the source.
async fn end_stream(
    run: &Run<'_>,
    source: &ControlledServer,
    moving: &[String],
) -> Result<(), Failure> {
    let Ok(subscriber) = source.reverse_subscriber() else {
        return Ok(());
    };
    enter(source, moving).await?;
    subscriber.disable_subscriptions(moving).await?;
    subscriber.drop_subscriptions(moving).await?;
    if let Ok(stream) = run.migration.facts.stream() {
        subscriber.restore_logins(&stream.armed).await?;
    }
    Ok(())
}

/// The sequences' own values died with the target: each goes on behind the rows that arrived.
async fn raise_sequences(source: &ControlledServer, moving: &[String]) -> Result<usize, Failure> {
    let Ok(subscriber) = source.reverse_subscriber() else {
        return Ok(0);
    };
    let mut raised = 0;
    for datname in moving {
        raised += subscriber.raise_sequences(datname).await?;
    }
    Ok(raised)
}
