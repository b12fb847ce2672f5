mod durability;
mod left_behind;
mod left_server;
mod left_source;
mod promotion;
mod silent_target;

use std::sync::Arc;

use pointsman_catalog::UnixMillis;
use serde::Serialize;

use super::{
    choice::{Choice, choices},
    error::describe,
    moment::moment,
    target_watch::TargetWatch,
};
use crate::{
    journal::Entry,
    machine::{Direction, State, Step, StreamState},
    migration::{Coverage, Migration},
    ports::SessionsOn,
    steps::still_admitted,
};

pub(super) use durability::Durability;
use left_source::Known;
pub(super) use left_source::{NotKnown, SourceView};

/// Where a migration stands, for operators.
#[derive(Clone, Debug)]
pub struct Status {
    pub migration: Migration,
    /// One sentence that a person can act on at three in the morning.
    pub headline: String,
    /// Why nobody drives the migration now. Everything else is as it was last known then.
    pub not_driven: Option<String>,
    pub way_back: WayBack,
    pub choices: Vec<Choice>,
    /// In a bake: the sessions that sidecars report on the old writer.
    pub old_writer: Option<SessionsOn>,
    /// In a bake: why an alarm could not fire now. Also while an operator is waited for: what the
    /// slots of the reverse stream keep.
    pub alarm_warnings: Vec<String>,
    /// The journal, oldest first.
    pub entries: Arc<Vec<Entry>>,
}

/// What going back costs now, and whether it loses anything.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct WayBack {
    pub kind: WayBackKind,
    pub lossless: bool,
    /// Committed transactions that going back now would lose, where that can be counted.
    pub writes_at_risk: Option<u64>,
    pub message: String,
}

/// The ways back.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WayBackKind {
    /// The source is opened and served again: milliseconds.
    Republish,
    /// The same, once the target is proven to be closed and unwritten.
    CloseAndReopen,
    /// The reverse stream is waited for first, then a switch back.
    ArmAndSwitch,
    /// A switch back over the reverse stream.
    Switch,
    /// Only by giving up writes.
    AcceptLoss,
    /// There is nothing to go back from, or no way any more.
    None,
}

/// What the driver last saw in a bake.
#[derive(Clone, Debug, Default)]
pub(super) struct BakeView {
    pub(super) behind_bytes: u64,
    pub(super) writes_at_risk: Option<u64>,
    /// What the reverse stream leaves out, in words.
    pub(super) gap: Option<String>,
    /// Why the last try to make the reverse stream failed.
    pub(super) not_armed: Option<NotArmed>,
    pub(super) old_writer: Option<SessionsOn>,
    pub(super) alarm_warnings: Vec<String>,
    /// The slots keep much WAL, in words. It is known outside of a bake, too.
    pub(super) slots: Option<String>,
    /// When a rollback that waits for the reverse stream is given up.
    pub(super) rollback_until: Option<UnixMillis>,
    pub(super) target: TargetWatch,
    pub(super) durability: Durability,
    /// Outside of a bake: a server of the system that no switch made what it is, in words.
    pub(super) not_ours: Option<String>,
    /// What is not known of the source.
    pub(super) source: SourceView,
    /// Behind the end: what is not known of the server that was left.
    pub(super) left: Option<NotKnown>,
    /// That it is looked at no more, and why.
    pub(super) released: Option<String>,
}

/// Why the reverse stream could not be made.
#[derive(Clone, Debug)]
pub(super) struct NotArmed {
    pub(super) reason: String,
    /// Nothing but a person can change it.
    pub(super) by_others: bool,
}

impl Status {
    pub(super) fn new(migration: &Migration, entries: Arc<Vec<Entry>>, view: &BakeView) -> Self {
        let baking = matches!(migration.state(), State::Baking { .. });
        let seen = Some(view).filter(|_| baking);
        Self {
            old_writer: seen.and_then(|view| view.old_writer.clone()),
            alarm_warnings: warnings(migration, view, baking),
            headline: with_others(migration, headline(migration, seen), view),
            not_driven: None,
            way_back: way_back(migration, view),
            choices: choices(migration, &view.target),
            migration: migration.clone(),
            entries,
        }
    }

    /// The same, of a migration that nobody drives now: nothing of it is known to be still so.
    pub(super) fn not_driven(self, cause: &str) -> Self {
        Self {
            headline: format!(
                "not driven: {cause}; until then no alarm is listened to, no step is taken, and a hold \
                 ends by itself; it stood at: {}",
                headline(&self.migration, None)
            ),
            not_driven: Some(cause.to_owned()),
            way_back: way(
                WayBackKind::None,
                false,
                "none as long as nobody drives the migration",
            ),
            choices: Vec::new(),
            old_writer: None,
            alarm_warnings: Vec::new(),
            ..self
        }
    }

    /// `forward` or `reverse`, of the switch under way or waiting; else empty.
    pub fn direction(&self) -> &'static str {
        let place = self.migration.state().place();
        place.map_or("", |(direction, _)| direction.label())
    }

    /// The step under way or waiting; else empty.
    pub fn step(&self) -> &'static str {
        let place = self.migration.state().place();
        place.map_or("", |(_, step)| step.label())
    }

    /// `none`, `arming`, `proven` or `broken`.
    pub fn reverse_stream(&self) -> &'static str {
        match self.migration.state() {
            State::Baking { stream } => stream.label(),
            State::Planned
            | State::SettingUp
            | State::Prepared
            | State::Switching { .. }
            | State::Promoting { .. }
            | State::Undoing { .. }
            | State::Undone
            | State::RolledBack
            | State::Completing
            | State::Completed
            | State::Cancelling
            | State::Cancelled
            | State::Abandoned
            | State::NeedsOperator { .. } => "none",
        }
    }
}

fn warnings(migration: &Migration, view: &BakeView, baking: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if baking {
        warnings.clone_from(&view.alarm_warnings);
        warnings.extend(left_source::warning(migration, &view.source));
        warnings.extend(view.durability.warning(migration));
    }
    warnings.extend(left_server::warning(migration, view.left.as_ref()));
    warnings.extend(view.slots.clone());
    warnings
}

fn headline(migration: &Migration, seen: Option<&BakeView>) -> String {
    let (source, target) = (&migration.source, &migration.target);
    let cause = migration.cause.as_deref().unwrap_or("no cause on record");
    if let Some(view) = seen
        && let Some(silence) = silent_target::silence(migration, &view.target)
    {
        return silent_target::headline(migration, silence, &view.target);
    }
    match migration.state() {
        State::Planned if migration.facts.lease().is_some() => format!(
            "{source} → {target} is planned; what an attempt to start or to cancel left on {source} \
             is taken down by `migration cancel`: {cause}"
        ),
        State::Planned => format!("{source} → {target} is planned; no server was touched"),
        State::SettingUp => format!("{source} is being prepared"),
        State::Prepared => promotion::announced(
            migration,
            &format!("ready to switch from {source} to {target}"),
        ),
        State::Promoting { stage } => promotion::headline(migration, stage),
        State::Switching { .. } | State::Undoing { .. } => describe(migration.state()),
        State::Undone => format!("{source} serves; the switch was undone: {cause}"),
        State::Baking { stream } => {
            let stream = reverse_stream(migration, stream, seen);
            let warned = |view: &BakeView| !view.alarm_warnings.is_empty() || view.slots.is_some();
            let blind = seen.is_some_and(warned);
            let watched = if blind {
                "not every alarm watches it, see `alarm`"
            } else {
                "is watched"
            };
            let left = left_source::headline(migration);
            format!("{target} serves and {watched}; {stream}{left}")
        }
        State::RolledBack => left_server::rolled_back(migration, cause),
        State::Completing => format!("{source} is being closed for good"),
        State::Completed => left_server::completed(migration),
        State::Cancelling => "what the start made is being taken back".to_owned(),
        State::Cancelled => format!("cancelled; {source} serves as before"),
        State::Abandoned => left_behind::headline(migration),
        State::NeedsOperator {
            direction,
            step: Step::Prepare,
        } => {
            let stands = migration.server(direction.leaves());
            let slots = if migration.facts.stream().is_ok() {
                " but the dropping of slots that keep more WAL than slots.drop_mib"
            } else {
                ""
            };
            format!(
                "parked: {stands} was the writer, and nothing{slots} is done to {source} or {target} \
                 before an operator decides: {cause}"
            )
        }
        State::NeedsOperator { step, .. } => format!(
            "stopped at {}: neither server can be proven to be the only writer, so nothing more is \
             opened and routes refuse once the hold ends: {cause}",
            step.label()
        ),
    }
}

/// Says also which other server of the system somebody else made what it is, and that the server that
/// was left is looked at no more.
fn with_others(migration: &Migration, headline: String, view: &BakeView) -> String {
    let asks = matches!(
        migration.state(),
        State::NeedsOperator { .. } | State::Promoting { .. }
    );
    match (&view.not_ours, &view.released) {
        (Some(found), _) if asks && !headline.contains(found) => format!("{headline}; {found}"),
        (_, Some(said)) => format!("{headline}; {said}"),
        (Some(_) | None, None) => headline,
    }
}

/// How far it is, what it waits for, and who waits for it.
fn reverse_stream(migration: &Migration, stream: StreamState, seen: Option<&BakeView>) -> String {
    let not_armed = seen.and_then(|view| view.not_armed.as_ref());
    let not_armed = not_armed.map_or_else(String::new, |failed| {
        format!(", which has not succeeded yet ({})", failed.reason)
    });
    match stream {
        StreamState::Arming => format!("the reverse stream is being made{not_armed}"),
        StreamState::ArmingForRollback => {
            let until = seen.and_then(|view| view.rollback_until);
            let until = until.map_or_else(String::new, |until| {
                format!("until {}, and is given up then", moment(until))
            });
            format!(
                "the reverse stream is being made{not_armed}; a rollback waits for it {until} \
                 (migration rollback {} --withdraw gives it up now)",
                migration.name
            )
        }
        StreamState::Proven => "the reverse stream is proven".to_owned(),
        StreamState::Broken => "the reverse stream is broken".to_owned(),
    }
}

fn way_back(migration: &Migration, view: &BakeView) -> WayBack {
    match migration.state() {
        State::Switching {
            direction: Direction::Forward,
            step,
        } if step < Step::Promote => way(
            WayBackKind::Republish,
            true,
            "abort: the source is opened and served again, within milliseconds",
        ),
        State::Switching {
            direction: Direction::Forward,
            step,
        } if step < Step::Flip => way(
            WayBackKind::CloseAndReopen,
            true,
            "only once the target is proven to be closed and unwritten",
        ),
        State::Promoting { .. } => way(
            WayBackKind::CloseAndReopen,
            true,
            "none while the promotion is under way: it cannot be called back; the source is opened \
             only if the target is proven to exist no more, or promoted, closed and unwritten",
        ),
        State::Baking { stream } => {
            let way_back = way_back_of_bake(migration, stream, view);
            let promise = view.durability.promise(migration);
            let known = left_source::known(migration, &view.source);
            from_source(migration, known, way_back, promise)
        }
        State::NeedsOperator { .. } => way(
            WayBackKind::None,
            false,
            format!(
                "an operator decides first: see the choices; {}",
                left_behind::how_to_abandon(migration)
            ),
        ),
        State::Switching { .. } | State::Undoing { .. } => {
            way(WayBackKind::None, true, "none while this is under way")
        }
        State::Completing | State::Completed => {
            way(WayBackKind::None, false, "the way back was given up")
        }
        State::Planned
        | State::SettingUp
        | State::Prepared
        | State::Undone
        | State::RolledBack
        | State::Cancelling
        | State::Cancelled => way(WayBackKind::None, true, "nothing to go back from"),
        State::Abandoned => way(WayBackKind::None, false, "the way back was given up"),
    }
}

fn way_back_of_bake(migration: &Migration, stream: StreamState, view: &BakeView) -> WayBack {
    if let Some(silence) = silent_target::silence(migration, &view.target) {
        let message = silent_target::way_back(migration, silence, &view.target, &view.durability);
        return way(WayBackKind::AcceptLoss, false, message);
    }
    if matches!(stream, StreamState::Arming | StreamState::ArmingForRollback)
        && migration.facts.admits_strangers()
    {
        return way(
            WayBackKind::ArmAndSwitch,
            false,
            format!(
                "a rollback that was undone had let superusers into {0}: it is closed again before the \
                 reverse stream is made, and whether anybody wrote on {0} is not known before",
                migration.source
            ),
        );
    }
    match stream {
        StreamState::Arming | StreamState::ArmingForRollback if has_every_write(migration) => {
            with_not_proven(
                migration,
                way(
                    WayBackKind::ArmAndSwitch,
                    false,
                    "a rollback first waits until the reverse stream is proven, while the target serves; \
                     then it is a switch back. That it loses nothing is known then",
                ),
            )
        }
        StreamState::Proven => with_not_proven(
            migration,
            way(
                WayBackKind::Switch,
                true,
                format!(
                    "a switch back over the reverse stream, which is {} bytes of WAL behind{}",
                    view.behind_bytes,
                    admitted(migration)
                ),
            ),
        ),
        // No proof can make a stream whole that misses writes from its beginning.
        StreamState::Arming | StreamState::ArmingForRollback | StreamState::Broken => WayBack {
            writes_at_risk: view.writes_at_risk,
            ..way(
                WayBackKind::AcceptLoss,
                false,
                lossy_way_back(migration, view),
            )
        },
    }
}

/// A way back is called lossless only as long as the source was left alone, and is known to have
/// been.
fn from_source(
    migration: &Migration,
    known: Known,
    way_back: WayBack,
    promise: Option<String>,
) -> WayBack {
    let promised = promise.as_ref().map(|promise| format!("{promise}; "));
    let promised = promised.unwrap_or_default();
    let as_long = promise.unwrap_or_else(|| "lossless as long as the target answers".to_owned());
    let (lossless, message) = match known {
        Known::LeftAlone if way_back.lossless && way_back.kind == WayBackKind::Switch => {
            let by = left_source::method(migration);
            (true, format!("{}; {as_long}{by}", way_back.message))
        }
        Known::LeftAlone => return way_back,
        Known::Disturbed(seen) if way_back.kind == WayBackKind::AcceptLoss => {
            (false, format!("{}; {seen}", way_back.message))
        }
        Known::Disturbed(seen) => (
            false,
            format!("over the reverse stream, by rollback --accept-loss alone: {seen}"),
        ),
        Known::Unknown(why) if way_back.lossless => (
            false,
            format!(
                "{}; {promised}that it loses nothing is not proven: {why}",
                way_back.message
            ),
        ),
        Known::Unknown(why) => (false, format!("{}; {why}", way_back.message)),
    };
    WayBack {
        lossless,
        writes_at_risk: way_back.writes_at_risk.filter(|_| lossless),
        message,
        ..way_back
    }
}

/// Who can log in to the closed source all the same.
fn admitted(migration: &Migration) -> String {
    let stream = migration.facts.stream();
    stream.map_or_else(|_| String::new(), |stream| still_admitted(&stream.armed))
}

/// What is not proven is not called lossless, and not called lost either.
fn with_not_proven(migration: &Migration, way_back: WayBack) -> WayBack {
    let found = migration.facts.not_proven();
    if found.is_empty() {
        return way_back;
    }
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    WayBack {
        lossless: false,
        writes_at_risk: None,
        message: format!(
            "over the reverse stream, by rollback --accept-loss alone: that it loses nothing is not \
             proven: {}",
            found.join("; ")
        ),
        ..way_back
    }
}

fn lossy_way_back(migration: &Migration, view: &BakeView) -> String {
    let known = migration.facts.stream().ok();
    let known = known.and_then(|stream| stream.gap.as_deref());
    let gap = view.gap.as_deref().or(known);
    let gap = gap.unwrap_or("the reverse stream is broken");
    view.writes_at_risk.map_or_else(
        || format!("{gap}; what is lacking is not countable (rollback --accept-loss)"),
        |count| {
            format!(
                "{gap}: going back loses at least {count} committed transactions (rollback \
                 --accept-loss)"
            )
        },
    )
}

/// Whether the reverse stream holds every write of the target. A fact that is not on record is not
/// claimed.
fn has_every_write(migration: &Migration) -> bool {
    let stream = migration.facts.stream();
    stream.is_ok_and(|stream| stream.coverage == Coverage::Complete && stream.gap.is_none())
}

fn way(kind: WayBackKind, lossless: bool, message: impl Into<String>) -> WayBack {
    WayBack {
        kind,
        lossless,
        writes_at_risk: lossless.then_some(0),
        message: message.into(),
    }
}
