//! Whether a journal can be what it says: each event on record is put to the machine again.

use std::fmt;

use serde::Serialize;

use super::entry::{Entry, EntryKind, Happened};
use crate::machine::{Command, Effect, Machine};

/// What a replay came to.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Replay {
    /// The entries of the journal.
    pub entries: u64,
    /// The events that the machine was asked about.
    pub events: u64,
    /// The entries of a program that recorded no events. What they changed is taken as it is.
    pub unverified: u64,
    pub violations: Vec<Violation>,
}

/// What the machine does not allow.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Violation {
    /// The entry's number; 0 for the record of the migration.
    pub entry: u64,
    pub reason: String,
}

/// How far a journal is believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Fail,
    /// Nothing contradicts, and not everything could be looked at.
    Partial,
}

/// Puts the events of `entries`, oldest first, to the machine, and compares each outcome with what is on
/// record, up to `record`: the machine as the store has it.
///
/// An intent must be the command that the machine owes then. A command that is owed must have its intent on
/// record, because nothing is done on a server before.
pub fn replay(entries: &[Entry], record: Machine) -> Replay {
    let mut progress = Progress {
        machine: Some(Machine::planned()),
        owed: None,
        replay: Replay {
            entries: u64::try_from(entries.len()).unwrap_or(u64::MAX),
            events: 0,
            unverified: 0,
            violations: Vec::new(),
        },
    };
    for (number, entry) in (1..).zip(entries) {
        if entry.number != number {
            progress.violated(entry.number, format!("it stands where {number} should"));
        }
        progress.take(entry);
    }
    progress.end(record)
}

impl Replay {
    /// An entry that does not match its hash: nothing is read of what stands there.
    pub(super) fn broken(number: u64) -> Self {
        Self {
            entries: number,
            events: 0,
            unverified: 0,
            violations: vec![Violation {
                entry: number,
                reason: "it does not match its hash: the record was altered or damaged".to_owned(),
            }],
        }
    }

    /// What one may say of the journal.
    pub fn verdict(&self) -> Verdict {
        match (self.violations.is_empty(), self.unverified) {
            (false, _) => Verdict::Fail,
            (true, 0) => Verdict::Pass,
            (true, _) => Verdict::Partial,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            0 => write!(f, "the record: {}", self.reason),
            number => write!(f, "entry {number}: {}", self.reason),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Partial => "partial",
        })
    }
}

/// A replay up to some entry.
struct Progress {
    /// `None` where nobody knows what an older program made of it.
    machine: Option<Machine>,
    /// The command whose intent comes next.
    owed: Option<Command>,
    replay: Replay,
}

impl Progress {
    fn take(&mut self, entry: &Entry) {
        let owed = self.owed.take().map(Command::label);
        match (entry.kind, owed) {
            (EntryKind::Intent, Some(owed)) if owed == entry.step => return,
            // Of an older program nobody knows what it owed.
            (EntryKind::Intent, None) if self.machine.is_none() => return,
            (EntryKind::Intent, _) => {
                self.violated(
                    entry.number,
                    format!("nobody owed the command {}", entry.step),
                );
                return;
            }
            (_, Some(owed)) => {
                self.violated(
                    entry.number,
                    format!("the intent of {owed} is not before it"),
                );
            }
            (_, None) => {}
        }
        match &entry.happened {
            Some(happened) => self.happened(entry.number, happened),
            // A note changes nothing.
            None if entry.kind == EntryKind::Note => {}
            None => {
                self.replay.unverified += 1;
                self.machine = None;
            }
        }
    }

    fn happened(&mut self, number: u64, happened: &Happened) {
        self.replay.events += 1;
        let Happened { event, at, machine } = *happened;
        let before = self.machine.replace(machine);
        match before.map(|before| before.apply(event, at)) {
            None => {}
            Some(Err(refused)) => self.violated(number, refused.to_string()),
            Some(Ok(transition)) => {
                if transition.machine != machine {
                    let leads = transition.machine;
                    let reason = format!("{event:?} leads to {leads:?}, and it has {machine:?}");
                    self.violated(number, reason);
                }
                self.owed = transition.effects.into_iter().find_map(intent);
            }
        }
    }

    fn end(mut self, record: Machine) -> Replay {
        if let Some(owed) = self.owed.take() {
            let reason = format!("the intent of {} is not in the journal", owed.label());
            self.violated(0, reason);
        }
        if self.machine.is_some_and(|last| last != record) {
            self.violated(0, "it is not what the journal comes to");
        }
        self.replay
    }

    fn violated(&mut self, entry: u64, reason: impl Into<String>) {
        let reason = reason.into();
        self.replay.violations.push(Violation { entry, reason });
    }
}

fn intent(effect: Effect) -> Option<Command> {
    match effect {
        Effect::Journal { intent, .. } => intent,
        Effect::BeginSwitch(_)
        | Effect::ForgetSessions
        | Effect::RememberCause
        | Effect::ForgetCause
        | Effect::Remark(_)
        | Effect::TryAgain
        | Effect::CountRisk
        | Effect::HoldWriters
        | Effect::ReleaseLease => None,
    }
}

#[cfg(test)]
mod tests {
    use pointsman_catalog::UnixMillis;
    use serde_json::json;

    use super::*;
    use crate::machine::Event;

    const AT: UnixMillis = UnixMillis(7);

    fn entry(kind: EntryKind, step: &str, happened: Option<Happened>) -> Entry {
        Entry {
            number: 0,
            switch: 0,
            epoch: 1,
            at: AT,
            offset_us: 0,
            took_us: 0,
            step: step.to_owned(),
            kind,
            message: String::new(),
            evidence: json!({}),
            happened,
            previous: String::new(),
            hash: String::new(),
        }
    }

    /// The journal that an engine writes of `events`, and its machine.
    fn journal(events: &[Event]) -> (Vec<Entry>, Machine) {
        let (mut entries, mut machine) = (Vec::new(), Machine::planned());
        for event in events.iter().copied() {
            let transition = machine.apply(event, AT).unwrap();
            machine = transition.machine;
            let happened = Happened {
                event,
                at: AT,
                machine,
            };
            entries.push(entry(EntryKind::Note, "", Some(happened)));
            let intent = transition.effects.into_iter().find_map(intent);
            entries.extend(intent.map(|it| entry(EntryKind::Intent, it.label(), None)));
        }
        for (number, entry) in (1..).zip(&mut entries) {
            entry.number = number;
        }
        (entries, machine)
    }

    const PREPARED: [Event; 3] = [Event::StartRequested, Event::Done, Event::SwitchRequested];

    fn reasons(replay: &Replay) -> Vec<String> {
        replay.violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_an_engine_wrote_passes() {
        let (entries, machine) = journal(&PREPARED);
        let replay = replay(&entries, machine);
        assert_eq!(reasons(&replay), Vec::<String>::new());
        assert_eq!((replay.events, replay.verdict()), (3, Verdict::Pass));
    }

    #[test]
    fn a_journal_without_one_of_its_events_fails() {
        let (mut entries, machine) = journal(&PREPARED);
        entries.remove(2);
        let replay = replay(&entries, machine);
        assert_eq!(replay.verdict(), Verdict::Fail);
        assert!(
            reasons(&replay)
                .iter()
                .any(|reason| reason.starts_with("entry 4: ")),
            "{replay:?}"
        );
    }

    #[test]
    fn a_command_without_its_intent_fails() {
        let (mut entries, machine) = journal(&PREPARED);
        let intent = entries.iter().position(|it| it.kind == EntryKind::Intent);
        entries.remove(intent.unwrap());
        let replay = replay(&entries, machine);
        assert!(
            reasons(&replay).contains(&"entry 3: the intent of start is not before it".to_owned()),
            "{replay:?}"
        );
    }

    #[test]
    fn a_command_that_nobody_owed_fails() {
        let (mut entries, machine) = journal(&PREPARED);
        entries.last_mut().unwrap().step = "promote".to_owned();
        let replay = replay(&entries, machine);
        assert!(
            reasons(&replay)[0].ends_with("nobody owed the command promote"),
            "{replay:?}"
        );
    }

    #[test]
    fn an_outcome_that_the_machine_does_not_have_fails() {
        let (mut entries, machine) = journal(&PREPARED);
        let first = entries.first_mut().unwrap().happened.as_mut().unwrap();
        first.machine = machine;
        let replay = replay(&entries, machine);
        assert_eq!(replay.verdict(), Verdict::Fail);
    }

    #[test]
    fn a_record_that_is_not_what_the_journal_comes_to_fails() {
        let (entries, _) = journal(&PREPARED);
        let replay = replay(&entries, Machine::planned());
        assert_eq!(
            reasons(&replay),
            ["the record: it is not what the journal comes to"]
        );
    }

    #[test]
    fn what_an_older_program_wrote_is_no_pass() {
        let (entries, machine) = journal(&PREPARED);
        let older = entries.iter().cloned().map(|entry| Entry {
            kind: if entry.kind == EntryKind::Note {
                EntryKind::Done
            } else {
                entry.kind
            },
            happened: None,
            ..entry
        });
        let replay = replay(&older.collect::<Vec<_>>(), machine);
        assert_eq!(replay.verdict(), Verdict::Partial, "{replay:?}");
    }

    #[test]
    fn an_older_programs_intents_and_todays_events_behind_them_are_believed() {
        let (mut entries, machine) = journal(&PREPARED);
        entries[0] = Entry {
            happened: None,
            ..entry(EntryKind::Done, "start", None)
        };
        entries[0].number = 1;
        let replay = replay(&entries, machine);
        assert_eq!(reasons(&replay), Vec::<String>::new());
        assert_eq!((replay.unverified, replay.events), (1, 2));
        assert_eq!(replay.verdict(), Verdict::Partial);
    }

    #[test]
    fn a_note_is_no_event_and_leaves_the_machine_known() {
        let (mut entries, machine) = journal(&PREPARED);
        let number = u64::try_from(entries.len()).unwrap() + 1;
        entries.push(Entry {
            number,
            ..entry(EntryKind::Note, "bake", None)
        });
        let replay = replay(&entries, machine);
        assert_eq!((replay.entries, replay.events), (number, 3));
        assert_eq!(replay.verdict(), Verdict::Pass, "{replay:?}");
    }

    #[test]
    fn an_entry_at_anothers_place_is_named() {
        let (mut entries, machine) = journal(&PREPARED);
        entries[1].number = 7;
        let replay = replay(&entries, machine);
        assert_eq!(reasons(&replay), ["entry 7: it stands where 2 should"]);
    }

    #[test]
    fn a_journal_that_ends_before_the_intent_of_what_is_owed_fails() {
        let (mut entries, machine) = journal(&PREPARED);
        entries.pop();
        let replay = replay(&entries, machine);
        assert_eq!(
            reasons(&replay),
            ["the record: the intent of prepare is not in the journal"]
        );
    }

    #[test]
    fn an_intent_that_follows_on_nothing_fails() {
        let (mut entries, machine) = journal(&PREPARED);
        let number = u64::try_from(entries.len()).unwrap() + 1;
        entries.push(Entry {
            number,
            ..entry(EntryKind::Intent, "promote", None)
        });
        let replay = replay(&entries, machine);
        let expected = format!("entry {number}: nobody owed the command promote");
        assert_eq!(reasons(&replay), [expected]);
    }

    #[test]
    fn an_event_that_the_machine_refuses_is_named() {
        let (mut entries, machine) = journal(&PREPARED);
        let first = entries.first_mut().unwrap().happened.as_mut().unwrap();
        first.event = Event::SwitchRequested;
        let replay = replay(&entries, machine);
        let refused = "entry 1: SwitchRequested is not possible in Planned".to_owned();
        assert!(reasons(&replay).contains(&refused), "{replay:?}");
    }

    #[test]
    fn what_does_not_match_its_hash_fails_by_its_number() {
        let broken = Replay::broken(7);
        assert_eq!((broken.entries, broken.verdict()), (7, Verdict::Fail));
        let reason = "entry 7: it does not match its hash: the record was altered or damaged";
        assert_eq!(reasons(&broken), [reason]);
    }

    #[test]
    fn verdicts_have_the_names_that_scripts_read() {
        let names = [Verdict::Pass, Verdict::Fail, Verdict::Partial].map(|it| it.to_string());
        assert_eq!(names, ["pass", "fail", "partial"]);
    }
}
