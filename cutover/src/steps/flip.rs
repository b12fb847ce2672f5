//! The new writer opens, and the fleet is sent there.

use futures_util::future::try_join_all;
use serde_json::json;

use super::{
    Failure, Proof, Run, others,
    outcome::with_learned,
    prove,
    routes::{Readers, convergence_message},
    synchronous, taken_down,
};
use crate::{
    machine::Side,
    ports::{Clock, ControlledServer, ProviderError},
};

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    others::none_promoted(run).await?;
    let (_, learned) = prove::token_of_a_fence_that_holds(run).await?;
    let former = run.migration.facts.former_settings(Side::Source)?;
    let staying = run.migration.staying_closed();
    let moving = run.migration.moving();
    let target = run.target().await?;
    let released = synchronous::release(run, &target).await?;
    target.fence()?.reopen(former, &staying).await?;
    first_write(run.clock(), &target, &moving).await?;
    let served = serve_target(run).await.map(|proof| proof.saying(released));
    learned.into_iter().fold(served, with_learned)
}

async fn serve_target(run: &Run<'_>) -> Result<Proof, Failure> {
    let writer = &run.migration.target;
    let publication = run.routes().serve(writer, Readers::OnTarget).await?;
    let convergence = run.routes().converge(&publication).await;
    Ok(Proof::new(
        format!("{writer} serves; {}", convergence_message(&convergence)),
        json!({
            "sequence": publication.sequence,
            "epochs": publication.epochs,
            "convergence": convergence,
        }),
    ))
}

pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    others::none_promoted(run).await?;
    let given_up = prove::target_is_left(run).await?;
    let former = run.migration.facts.former_settings(Side::Source)?;
    let moving = run.migration.moving();
    let source = run.source().await?;
    let released = synchronous::release(run, &source).await?;
    taken_down::reopen(&source, former, &moving).await?;
    first_write_on_source(run.clock(), &source, &moving).await?;
    let writer = run.migration.source.clone();
    let publication = run.routes().serve(&writer, Readers::WithoutTarget).await?;
    let convergence = run.routes().converge(&publication).await;
    let mut left_behind = take_down(run, &moving).await.err();
    if let Err(failure) = give_back(run).await {
        left_behind.get_or_insert(failure);
    }
    let mut message = format!("{writer} serves; {}", convergence_message(&convergence));
    if let Some(released) = released {
        message.push_str(&format!("; {released}"));
    }
    if let Some(given_up) = &given_up {
        message.push_str(&format!("; by an operator's word, although {given_up}"));
    }
    if let Some(failure) = left_behind {
        // The source serves already: what is not on record fails nothing here.
        let stream = run.migration.facts.stream().ok();
        let slots = stream.map_or(&[][..], |stream| &stream.slots);
        let slots: Vec<_> = slots.iter().map(|slot| slot.slot.as_str()).collect();
        message.push_str(&format!(
            "; left behind, to be dropped by hand where they are: slots {} on {} ({})",
            slots.join(", "),
            run.migration.target,
            failure.message
        ));
    }
    Ok(Proof::new(
        message,
        json!({
            "sequence": publication.sequence,
            "epochs": publication.epochs,
            "convergence": convergence,
            "given_up": given_up,
        }),
    ))
}

/// The target is left as it was before the switch.
async fn give_back(run: &mut Run<'_>) -> Result<(), Failure> {
    if run.migration.facts.former_synchronous().is_none() {
        return Ok(());
    }
    let target = run.target().await?;
    synchronous::give_back(run, &target).await
}

/// The same on a source that an attempt that was cut off may have opened and cleaned up.
pub(super) async fn first_write_on_source(
    clock: &dyn Clock,
    source: &ControlledServer,
    moving: &[String],
) -> Result<(), Failure> {
    if first_write(clock, source, moving).await.is_err() {
        taken_down::prepare_again(source, moving).await?;
        first_write(clock, source, moving).await?;
    }
    Ok(())
}

/// The engine's own write comes first, into a table outside every audit.
async fn first_write(
    clock: &dyn Clock,
    server: &ControlledServer,
    databases: &[String],
) -> Result<(), Failure> {
    if write_probes(clock, server, databases).await.is_err() {
        // A process that took over behind the opening has no session into the databases.
        server.sessions()?.open_databases(databases).await?;
        write_probes(clock, server, databases).await?;
    }
    Ok(())
}

async fn write_probes(
    clock: &dyn Clock,
    server: &ControlledServer,
    databases: &[String],
) -> Result<(), ProviderError> {
    let value = i64::try_from(clock.now().0).unwrap_or(i64::MAX);
    let mut writes = Vec::with_capacity(databases.len());
    for datname in databases {
        writes.push(server.probe_table()?.write_probe(datname, value));
    }
    try_join_all(writes).await?;
    Ok(())
}

/// The reverse stream has done its work. Clients are served already, so what fails here is
/// named and nothing more.
async fn take_down(run: &mut Run<'_>, moving: &[String]) -> Result<(), Failure> {
    let slots = &run.migration.facts.stream()?.slots;
    let source = run.source().await?;
    if let Ok(subscriber) = source.reverse_subscriber() {
        subscriber.drop_subscriptions(moving).await?;
    }
    taken_down::take_down(&source, moving).await?;
    let target = run.target().await?;
    target.reverse_publisher()?.drop_slots(slots).await?;
    run.routes().end_draining().await
}
