//! The source that was left, looked at while the target serves: whether it is still shut, and who
//! has written on it.

use std::time::Duration;

use super::{Failure, Problem, Run, fence, prove, standing};
use crate::{
    machine::{Assertion, LeftSource, Side},
    migration::{Learned, Migration, NotProven, ServerSeen},
    ports::{
        Breach, BreachKind, ControlledServer, Finding, ProviderError, UserWrites, WalReach,
        WatchMethod,
    },
};

/// What a look found, also one that was not ended.
#[derive(Debug, Default)]
pub(crate) struct SourceLook {
    pub(crate) seen: ServerSeen,
    /// A session of the replication protocol is in a database of it, which no limit keeps out.
    pub(crate) walsender: bool,
    /// Its fence was lifted. It is closed again, unless a breach says why not.
    pub(crate) opened: bool,
    /// Nothing tells whose a transaction is: who wrote is not known.
    pub(crate) unreadable: bool,
    /// What is on record and the machine has not heard of: a rollback that was undone had given it
    /// up.
    pub(crate) unheard: Option<String>,
    /// By transaction ids, before the first arming.
    pub(crate) not_proven: Option<NotProven>,
    /// Why not everything was looked at.
    pub(crate) failure: Option<Failure>,
}

impl SourceLook {
    /// Whether somebody else did something.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.seen.is_disturbed() || self.unheard.is_some()
    }

    /// What it adds to the record.
    pub(crate) fn learned(&self) -> Vec<Learned> {
        let mut learned = vec![Learned::Seen(Side::Source, self.seen.clone())];
        learned.extend(self.not_proven.clone().map(Learned::NotProven));
        learned
    }
}

/// Looks at the source. What lifted its fence is shut again at once. Who is there is named, and
/// ended where somebody has written, where nobody can say, and where one of them came by the
/// replication protocol.
pub(crate) async fn look(run: &mut Run<'_>, read: Duration) -> SourceLook {
    let mut found = SourceLook {
        unheard: run.migration.unheard_of_source().map(ToString::to_string),
        ..SourceLook::default()
    };
    if run.migration.facts.admits_strangers() {
        found.failure = Some(Failure::condition(format!(
            "{} is not closed again after a rollback that was undone; that is tried until it is proved",
            run.migration.source
        )));
        return found;
    }
    let within = read + ANSWER;
    let clock = run.clock();
    let looking = look_at(run, read, &mut found);
    let failure = match clock.timeout(within, looking).await {
        Ok(Ok(())) => return found,
        Ok(Err(failure)) => failure,
        Err(_elapsed) => Failure::new(
            Problem::Unanswered,
            format!("{} gave no answer within {within:?}", run.migration.source),
        ),
    };
    if failure.is_unanswered() {
        run.sessions.forget_source();
    }
    found.failure = Some(failure);
    found
}

async fn look_at(run: &mut Run<'_>, read: Duration, found: &mut SourceLook) -> Result<(), Failure> {
    let record = prove::full_record(run, Side::Source)?;
    let source = run.source().await?;
    let armed = run.migration.moving();
    let breaches = source.fence()?.bake_breaches(&record, &armed).await?;
    let lasting = note(breaches, found);
    if found.opened {
        // A server that somebody serves from is not closed under them.
        standing::of_a_bake(run).await?;
        if let Err(failure) = shut(run, &source).await {
            let why = failure.message;
            let again = format!("it could not be closed again: {why}");
            found.seen.breaches.push(again);
        }
    }
    let was_read = who_wrote(run, &source, read, found).await;
    if found.unreadable {
        note_lasting(run.migration, lasting, found);
    }
    let suspect = found.unreadable || found.walsender || !found.seen.commits.is_empty();
    if suspect && !found.opened && !found.seen.sessions.is_empty() {
        // Who may not be ended is named all the same.
        let limit = run.budgets.source.end_sessions;
        let _named = source.sessions()?.end_strangers(limit).await;
    }
    was_read
}

/// Returns what lasts: a new database. Where it is told who wrote, its commit is found.
fn note(breaches: Vec<Breach>, found: &mut SourceLook) -> Vec<String> {
    let mut lasting = Vec::new();
    for Breach { kind, message } in breaches {
        match kind {
            BreachKind::Opened => {
                found.opened = true;
                found.seen.breaches.push(message);
            }
            // A prepared transaction has written, and what it wrote is nobody's before its end.
            BreachKind::Session | BreachKind::Prepared => found.seen.sessions.push(message),
            BreachKind::Walsender => {
                found.walsender = true;
                found.seen.sessions.push(message);
            }
            BreachKind::Lasting => lasting.push(message),
        }
    }
    lasting
}

/// What lasts is news once.
fn note_lasting(migration: &Migration, lasting: Vec<String>, found: &mut SourceLook) {
    let watch = migration.facts.source_watch();
    let is_news = |message: &String| !watch.is_some_and(|watch| watch.knows(message));
    found
        .seen
        .breaches
        .extend(lasting.into_iter().filter(is_news));
}

/// Closes it again and ends who came in. The apply workers go on, and arming lets them in anew.
async fn shut(run: &Run<'_>, source: &ControlledServer) -> Result<(), Failure> {
    fence::close_again(run, Side::Source, source).await?;
    let limit = run.budgets.source.end_sessions;
    source.sessions()?.end_strangers(limit).await?;
    Ok(())
}

async fn who_wrote(
    run: &Run<'_>,
    source: &ControlledServer,
    read: Duration,
    found: &mut SourceLook,
) -> Result<(), Failure> {
    let facts = &run.migration.facts;
    let marker = &facts.token()?.marker.look;
    let known = facts.source_watch().and_then(|watch| watch.reach());
    // By ids the apply workers must have taken none before the first look: see below.
    let since = known.cloned().unwrap_or_else(|| WalReach {
        ids: None,
        ..WalReach::from(marker)
    });
    let moving = run.migration.moving();
    let proof = source.wal_proof()?;
    let writes = proof
        .user_writes(&since, facts.exempt(), &moving, read)
        .await?;
    if let Some(writes) = writes {
        return take(writes, source, read, found);
    }
    found.unreadable = true;
    if known.is_some() {
        return Ok(());
    }
    let proof = proof.prove_unwritten(marker, facts.exempt()).await?;
    found.seen.reach = Some(WalReach::from(&proof.through));
    if let Finding::Unproven(strangers) = proof.finding {
        found.not_proven = Some(NotProven {
            server: source.name().clone(),
            strangers,
        });
    }
    Ok(())
}

fn take(
    writes: UserWrites,
    source: &ControlledServer,
    read: Duration,
    found: &mut SourceLook,
) -> Result<(), Failure> {
    found.seen.commits = writes.commits;
    found.seen.untold = writes.untold;
    found.seen.reach = Some(writes.through);
    found.seen.by = Some(writes.by);
    let (what, unit) = match writes.by {
        WatchMethod::WalRecords => ("the reading of its WAL", "bytes"),
        WatchMethod::CommitOrigins => ("a look at its transaction ids", "ids"),
    };
    match writes.unread {
        0 => Ok(()),
        left => Err(Failure::from(ProviderError::TimedOut {
            server: source.name().clone(),
            what: what.to_owned(),
            waited: read,
            found: format!("{left} {unit} are left"),
        })),
    }
}

/// Looks once more before something is done that cannot do without. Returns what was found.
///
/// # Errors
/// Somebody did something there that no operator has given up, or that is not known.
pub(super) async fn left_alone(run: &mut Run<'_>) -> Result<Vec<Learned>, Failure> {
    let found = look(run, WHOLE).await;
    let learned = found.learned();
    let migration = run.migration;
    let source = &migration.source;
    let machine = migration.machine;
    let loss_accepted = machine.holds(Assertion::LossAccepted);
    if found.is_disturbed() && !loss_accepted {
        let message = disturbed(migration, &found);
        let failure = Failure::new(Problem::SourceDisturbed, message);
        return Err(Failure { learned, ..failure });
    }
    let Some(failure) = found.failure else {
        return Ok(learned);
    };
    let known_enough = loss_accepted || machine.left_source() == LeftSource::Accepted;
    if failure.is_unanswered() {
        return Err(Failure { learned, ..failure });
    }
    if known_enough {
        return Ok(learned);
    }
    let failure = Failure::condition(format!(
        "who wrote on {source} in the bake is not known: {}; {}",
        failure.message,
        how_to_go_on(migration)
    ));
    Err(Failure { learned, ..failure })
}

/// The same right before the source is opened to the apply workers. What is on record already
/// keeps nobody from shutting it again.
pub(super) async fn before_arming(run: &mut Run<'_>) -> Result<Vec<Learned>, Failure> {
    let found = look(run, WHOLE).await;
    let learned = found.learned();
    let by_hand = |failure: &Failure| failure.problem == Problem::MovedByHand;
    let disturbed_now =
        found.is_disturbed() && run.migration.machine.left_source() != LeftSource::Disturbed;
    if disturbed_now && !found.failure.as_ref().is_some_and(by_hand) {
        let message = disturbed(run.migration, &found);
        let failure = Failure::new(Problem::SourceDisturbed, message);
        return Err(Failure { learned, ..failure });
    }
    match found.failure {
        Some(failure) if by_hand(&failure) => Err(failure),
        Some(failure) if failure.is_unanswered() => Err(Failure { learned, ..failure }),
        // The status says what is not known.
        Some(_) | None => Ok(learned),
    }
}

/// What was seen, and what an operator can do about it.
pub(crate) fn disturbed(migration: &Migration, found: &SourceLook) -> String {
    let mut seen = vec![found.seen.to_string()];
    seen.extend(found.unheard.clone());
    seen.retain(|said| !said.is_empty());
    format!(
        "{} was not left alone in the bake: {}; {}",
        migration.source,
        seen.join("; "),
        how_to_go_on(migration)
    )
}

fn how_to_go_on(migration: &Migration) -> String {
    let name = &migration.name;
    format!(
        "look at what was written there, then go on by giving it up (migration complete {name} \
         --accept-loss, migration rollback {name} --accept-loss)"
    )
}

/// How long a look waits for answers, apart from what it reads.
const ANSWER: Duration = Duration::from_secs(2);
/// How long the rest of its WAL may take to read before something depends on it.
const WHOLE: Duration = Duration::from_secs(10);
