//! A migration as text for people, and as JSON.

use std::fmt::Write as _;

use pointsman_proto::v1::{Migration, TimelineEntry, WriteProof};
use serde_json::Value;

use crate::cli::output::{self, Table};

/// As JSON, with each entry's evidence as an object and not as text.
pub(super) fn json(migration: &Migration) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(migration)?;
    if let Some(Value::Array(entries)) = value.get_mut("timeline") {
        for entry in entries {
            if let Some(evidence) = entry.get_mut("evidence") {
                *evidence = parsed(evidence.as_str().unwrap_or_default(), "{}");
            }
        }
    }
    Ok(value)
}

/// Text that holds JSON, as JSON; what is none stays text.
pub(super) fn parsed(text: &str, empty: &str) -> Value {
    let text = if text.is_empty() { empty } else { text };
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// What a person wants to know first.
pub(super) fn summary(migration: &Migration) -> String {
    let mut lines = String::new();
    let mut line = |label: &str, text: &str| {
        if !text.is_empty() {
            // Writing to a String cannot fail.
            writeln!(lines, "{label:<15} {text}").ok();
        }
    };
    line(
        "migration",
        &format!(
            "{}: {} -> {}",
            migration.name, migration.source, migration.target
        ),
    );
    line("state", &state(migration));
    line("", &migration.headline);
    // Most headlines end with it.
    if !migration.headline.contains(&migration.cause) {
        line("cause", &migration.cause);
    }
    line("databases", &migration.databases.join(", "));
    line("moves as well", &unlisted(migration, "moves"));
    line("stays closed", &unlisted(migration, "stays-closed"));
    line("waived", &migration.waived.join(", "));
    if migration.durable_way_back {
        let (source, target) = (&migration.source, &migration.target);
        let asked = format!("in the bake, commits on {target} wait until {source} has them");
        line("durable", &asked);
    }
    if migration.state == "baking" {
        line("reverse stream", &migration.reverse_stream);
    }
    if let Some(way_back) = &migration.way_back {
        line("way back", &way_back.message);
    }
    for proof in &migration.proofs {
        line("proof", &unwritten(proof));
    }
    line("old writer", &migration.old_writer);
    for warning in &migration.alarm_warnings {
        line("alarm", warning);
    }
    let holds = matches!(migration.state.as_str(), "switching" | "promoting");
    if holds && migration.hold_until_ms != 0 {
        line("held until", &output::clock(migration.hold_until_ms));
    }
    for choice in &migration.choices {
        line("choice", &format!("{}: {}", choice.name, choice.message));
    }
    lines.trim_end().to_owned()
}

/// The same for somebody who reads the cause elsewhere.
pub(super) fn summary_without_cause(migration: &Migration) -> String {
    summary(&Migration {
        headline: String::new(),
        cause: String::new(),
        ..migration.clone()
    })
}

/// The databases that the catalogue does not list and for which `policy` was chosen.
fn unlisted(migration: &Migration, policy: &str) -> String {
    let chosen = migration.unlisted.iter().filter(|&(_, of)| of == policy);
    let mut names: Vec<_> = chosen.map(|(datname, _)| datname.as_str()).collect();
    names.sort_unstable();
    names.join(", ")
}

fn unwritten(proof: &WriteProof) -> String {
    let method = proof.method.replace('_', " ").replace("wal", "WAL");
    format!(
        "nobody wrote on {} behind its fence, by {method}",
        proof.server
    )
}

fn state(migration: &Migration) -> String {
    if migration.step.is_empty() {
        migration.state.clone()
    } else {
        format!(
            "{} ({}, {})",
            migration.state, migration.direction, migration.step
        )
    }
}

/// The newest switch, step by step; what led to it, when there was none yet.
pub(super) fn last_switch(migration: &Migration) -> String {
    let Some(newest) = migration.timeline.iter().map(|entry| entry.switch).max() else {
        return String::new();
    };
    let header = ["AT", "OFFSET MS", "STEP", "EVENT", "TOOK MS", "MESSAGE"];
    let mut table = Table::new(header);
    for entry in migration
        .timeline
        .iter()
        // A step that has ended says all that its intent did.
        .filter(|entry| entry.switch == newest && entry.event != "intent")
    {
        table.row([
            output::clock(entry.at_ms),
            format!("+{}", output::ms(entry.offset_us)),
            entry.step.clone(),
            entry.event.clone(),
            took(entry),
            entry.message.clone(),
        ]);
    }
    match newest {
        0 | 1 => table.to_string(),
        more => format!(
            "{table}\n{} before it: see --output json",
            switches(more - 1)
        ),
    }
}

fn switches(count: u32) -> String {
    match count {
        1 => "1 switch".to_owned(),
        more => format!("{more} switches"),
    }
}

/// One entry as it comes.
pub(super) fn entry(entry: &TimelineEntry) -> String {
    let took = match took(entry) {
        took if took.is_empty() => took,
        took => format!("  (took {took} ms)"),
    };
    format!(
        "{}  #{} {:>10} ms  {:<9} {:<7} {}{took}",
        output::clock(entry.at_ms),
        entry.switch,
        format!("+{}", output::ms(entry.offset_us)),
        entry.step,
        entry.event,
        entry.message,
    )
}

fn took(entry: &TimelineEntry) -> String {
    if entry.took_us == 0 {
        String::new()
    } else {
        output::ms(entry.took_us)
    }
}

#[cfg(test)]
mod tests {
    use pointsman_proto::v1::{Choice, WayBack};

    use super::*;

    fn migration() -> Migration {
        let entry = |offset_us, took_us, step: &str, event: &str, message: &str| TimelineEntry {
            switch: 1,
            at_ms: 1_700_000_000_000,
            offset_us,
            took_us,
            step: step.to_owned(),
            event: event.to_owned(),
            message: message.to_owned(),
            evidence: r#"{"nodes":3}"#.to_owned(),
        };
        Migration {
            name: "to-green".to_owned(),
            source: "blue".to_owned(),
            target: "green".to_owned(),
            state: "needs_operator".to_owned(),
            direction: "forward".to_owned(),
            step: "promote".to_owned(),
            databases: vec!["orders".to_owned(), "billing".to_owned()],
            unlisted: [("legacy", "stays-closed"), ("audit", "moves")]
                .map(|(datname, policy)| (datname.to_owned(), policy.to_owned()))
                .into(),
            headline: "neither server can be proven to be the only writer".to_owned(),
            cause: "green does not answer".to_owned(),
            way_back: Some(WayBack {
                kind: "none".to_owned(),
                lossless: false,
                writes_at_risk: None,
                message: "not before green answers".to_owned(),
            }),
            proofs: vec![WriteProof {
                server: "blue".to_owned(),
                method: "transaction_ids".to_owned(),
            }],
            choices: vec![Choice {
                name: "retry".to_owned(),
                message: "try the step again".to_owned(),
            }],
            timeline: vec![
                entry(1_200, 0, "hold", "intent", ""),
                entry(4_350, 3_150, "hold", "done", "3 of 3 sidecars hold"),
                entry(
                    110_000,
                    5_020_000,
                    "promote",
                    "failed",
                    "green does not answer",
                ),
            ],
            ..Migration::default()
        }
    }

    #[test]
    fn a_summary_says_what_can_be_decided() {
        insta::assert_snapshot!(summary(&migration()));
    }

    #[test]
    fn a_durable_way_back_is_seen_before_it_is_needed() {
        let mut asked = migration();
        assert!(!summary(&asked).contains("durable"));
        asked.durable_way_back = true;
        let said = "durable         in the bake, commits on green wait until blue has them";
        assert!(summary(&asked).contains(said), "{}", summary(&asked));
    }

    #[test]
    fn a_cause_that_the_headline_has_is_not_said_again() {
        let mut undone = migration();
        undone.headline = format!("blue serves; the switch was undone: {}", undone.cause);
        assert_eq!(summary(&undone).matches("green does not answer").count(), 1);
    }

    #[test]
    fn a_timeline_says_that_there_were_switches_before() {
        let mut again = migration();
        for entry in &mut again.timeline {
            entry.switch = 3;
        }
        assert!(last_switch(&again).ends_with("2 switches before it: see --output json"));
    }

    #[test]
    fn a_timeline_has_offsets_in_milliseconds() {
        insta::assert_snapshot!(last_switch(&migration()));
    }

    #[test]
    fn a_followed_entry_is_one_line() {
        assert_eq!(
            entry(&migration().timeline[1]),
            "2023-11-14T22:13:20.000Z  #1       +4.3 ms  hold      done    3 of 3 sidecars hold  \
             (took 3.1 ms)"
        );
    }

    #[test]
    fn evidence_is_an_object_in_json() {
        let value = json(&migration()).unwrap();
        assert_eq!(value["timeline"][1]["evidence"]["nodes"], 3);
        assert_eq!(value["way_back"]["writes_at_risk"], Value::Null);
    }
}
