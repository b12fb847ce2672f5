//! The source's fence while an API promotes the target. That takes minutes, and whoever lifts the
//! fence meanwhile makes a second writer.

use super::{Failure, Run, fence, prove, standing};
use crate::{
    machine::Side,
    ports::{Breach, BreachKind, ControlledServer, Finding, ProviderError},
};

/// Looks at the fence. What lifted it is shut again at once: whatever the promotion comes to, the
/// source opens by the engine's hand alone. Before that the breach is written down on the source,
/// where the proof behind the promotion finds it, by whichever leader. Returns why it could not be
/// looked at, if it could not: a source that does not answer is not shown to be open.
///
/// # Errors
/// The fence was lifted, or somebody wrote. An operator is asked, and the promotion is looked at
/// on.
pub(super) async fn look(run: &mut Run<'_>) -> Result<Option<String>, Failure> {
    match watch(run).await {
        Err(failure) if failure.is_unanswered() => {
            run.sessions.forget_source();
            Ok(Some(failure.message))
        }
        Err(failure) => Err(Failure {
            server: Some(run.migration.source.clone()),
            ..failure
        }),
        Ok(()) => Ok(None),
    }
}

async fn watch(run: &mut Run<'_>) -> Result<(), Failure> {
    let record = prove::full_record(run, Side::Source)?;
    let limit = run.budgets.source.end_sessions;
    let clock = run.clock();
    let source = run.source().await?;
    let looking = source.fence()?.breaches(&record, &[]);
    let breaches = clock.timeout(limit, looking).await;
    let breaches = breaches.map_err(|_elapsed| ProviderError::Unreachable {
        server: source.name().clone(),
        reason: format!("no answer within {limit:?}"),
    })??;
    let is = |kind| breaches.iter().find(|breach| breach.kind == kind);
    if let Some(opened) = is(BreachKind::Opened) {
        // A server that somebody serves from is not closed under them.
        if let Err(served) = standing::source_is_not_served(run).await {
            let what = broken(run, opened);
            return Err(Failure::unprovable(format!("{what}; {}", served.message)));
        }
        note(run, &source, opened).await?;
        return Err(opened_again(run, &source, opened).await);
    }
    if let Some(lasting) = is(BreachKind::Lasting).or_else(|| is(BreachKind::Prepared)) {
        return Err(Failure::unprovable(broken(run, lasting)));
    }
    match is(BreachKind::Session).or_else(|| is(BreachKind::Walsender)) {
        None => Ok(()),
        Some(session) => entered(run, &source, session).await,
    }
}

/// Somebody who is not kept out, a superuser for example, is ended, and that is all where nobody
/// wrote.
async fn entered(
    run: &Run<'_>,
    source: &ControlledServer,
    session: &Breach,
) -> Result<(), Failure> {
    let limit = run.budgets.source.end_sessions;
    note(run, source, session).await?;
    source.sessions()?.end_sessions(&[], limit).await?;
    match wrote(run, source).await? {
        None => Ok(()),
        Some(wrote) => Err(Failure::unprovable(format!(
            "{}; {wrote}",
            broken(run, session)
        ))),
    }
}

/// Writes the breach down. Without that nothing is done about it: a source that was shut again
/// would look as if nobody had come in.
async fn note(run: &Run<'_>, source: &ControlledServer, breach: &Breach) -> Result<(), Failure> {
    let noted = source.wal_proof()?.note_breach(&breach.message).await;
    match noted.map_err(Failure::from) {
        Err(failure) if !failure.is_unanswered() => Err(Failure::unprovable(format!(
            "{}; nothing was done about it, since it could not be written down: {}",
            broken(run, breach),
            failure.message
        ))),
        outcome => outcome,
    }
}

/// Closes the source again, and says what came of the opening.
async fn opened_again(run: &Run<'_>, source: &ControlledServer, opened: &Breach) -> Failure {
    let what = broken(run, opened);
    if let Err(failure) = shut(run, source).await {
        let why = failure.message;
        return Failure::unprovable(format!("{what}; it could not be closed again: {why}"));
    }
    let wrote = match wrote(run, source).await {
        Ok(None) => "nobody wrote".to_owned(),
        Ok(Some(wrote)) => wrote,
        Err(failure) => format!("whether somebody wrote is not known: {}", failure.message),
    };
    Failure::unprovable(format!("{what}; it is closed again, and {wrote}"))
}

fn broken(run: &Run<'_>, breach: &Breach) -> String {
    format!(
        "the fence of {} does not hold while an API promotes {}: {}",
        run.migration.source, run.migration.target, breach.message
    )
}

/// Closes it again and ends who came in.
async fn shut(run: &Run<'_>, source: &ControlledServer) -> Result<(), Failure> {
    fence::close_again(run, Side::Source, source).await?;
    let limit = run.budgets.source.end_sessions;
    source.sessions()?.end_sessions(&[], limit).await?;
    Ok(())
}

/// Who has written there since the marker, in words; `None`: nobody.
async fn wrote(run: &Run<'_>, source: &ControlledServer) -> Result<Option<String>, Failure> {
    let facts = &run.migration.facts;
    let since = &facts.token()?.marker.look;
    let proof = source
        .wal_proof()?
        .prove_unwritten(since, facts.exempt())
        .await?;
    Ok(match proof.finding {
        Finding::Unwritten | Finding::Accepted(_) => None,
        Finding::Unproven(strangers) => Some(format!("{strangers} came behind it")),
        // The opening itself is one.
        Finding::Written(1) => Some("1 transaction was committed behind it".to_owned()),
        Finding::Written(count) => Some(format!("{count} transactions were committed behind it")),
    })
}
