//! What the clients know of a round, held against what the serving writer has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use pointsman_lab::{
    postgres::PostgresServer,
    workload::{
        EventKind, Record,
        verify::{self, Finding, WriteAudit},
    },
};
use serde_json::Value;

use super::{operator::text, stage::Stage};

/// What became of the writes.
#[derive(Debug, Default)]
pub(super) struct Reckoning {
    /// Acknowledged and absent, or there otherwise than they were made.
    pub(super) lost: Vec<String>,
    /// Acknowledged by a target that an operator gave up with what was only there.
    pub(super) given_up: u64,
    pub(super) acknowledged: u64,
    /// Errors that clients saw.
    pub(super) failed: u64,
    pub(super) rows: u64,
}

/// A write, by database, client and number.
type Write = (String, i32, i64);

/// Writes that were given up in this round and in former ones: they stay absent.
#[derive(Debug, Default)]
pub(super) struct GivenUp(BTreeSet<Write>);

impl GivenUp {
    /// Takes the `record` of a round into the history of `stage`, and holds all of that against `writer`.
    /// Writes may be missing which the server at port `gave_up` has acknowledged.
    pub(super) async fn reckon(
        &mut self,
        stage: &mut Stage,
        record: Record,
        writer: &PostgresServer,
        gave_up: Option<u16>,
    ) -> Result<Reckoning> {
        let mut reckoning = Reckoning {
            acknowledged: record.acked_writes(),
            failed: record
                .clients
                .iter()
                .map(|it| it.failures().count() as u64)
                .sum(),
            ..Reckoning::default()
        };
        let takers = takers(&record);
        stage.history.extend(record.clients);
        let all = Record {
            clock: record.clock,
            clients: stage.history.clone(),
        };
        let found = verify::check(&all, writer).await?;
        let WriteAudit {
            lost,
            duplicated,
            out_of_order,
            phantom,
            rows,
        } = found;
        reckoning.rows = rows;
        for finding in lost {
            let write = write(&finding);
            let taker = takers.get(&write).copied();
            if taker.is_some() && taker == gave_up {
                reckoning.given_up += 1;
                self.0.insert(write);
            } else if !self.0.contains(&write) {
                reckoning.lost.push(described("lost", &finding, taker));
            }
        }
        let others = [
            ("there twice", duplicated),
            ("out of order", out_of_order),
            ("never sent", phantom),
        ];
        for (kind, findings) in others {
            let findings = findings.iter();
            let described = findings.map(|it| described(kind, it, takers.get(&write(it)).copied()));
            reckoning.lost.extend(described);
        }
        Ok(reckoning)
    }
}

/// Which server, by its port, acknowledged each write.
fn takers(record: &Record) -> BTreeMap<Write, u16> {
    let mut takers = BTreeMap::new();
    for client in record.writers() {
        let who = &client.identity;
        for event in &client.events {
            if let EventKind::Acked { number, server, .. } = event.kind {
                takers.insert((who.datname.clone(), who.client, number), server);
            }
        }
    }
    takers
}

fn write(finding: &Finding) -> Write {
    (finding.datname.clone(), finding.client, finding.number)
}

fn described(kind: &str, finding: &Finding, taker: Option<u16>) -> String {
    let taker = taker.map_or_else(String::new, |port| format!(", acknowledged by port {port}"));
    format!("{kind}: {finding}{taker}")
}

/// How often the writer has changed at most: each flip on record changes it, and so does the opening of a
/// source without its target.
pub(super) fn changes_allowed(status: &Value, target_serves: bool) -> usize {
    let entries = status["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    let is_flip = |entry: &&Value| text(entry, "step") == "flip" && text(entry, "event") == "done";
    let flips = entries.iter().filter(is_flip).count();
    let at_target = flips % 2 == 1;
    flips + usize::from(at_target != target_serves)
}

/// Whether the record says of `left`, whose last word is its name, that it is left behind.
pub(super) fn is_named(status: &Value, left: &str) -> bool {
    let name = left.rsplit(' ').next().unwrap_or(left);
    let entries = status["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    let mut messages = entries.iter().map(|entry| text(entry, "message"));
    messages.any(|message| {
        let behind = message.split("left behind").nth(1).unwrap_or_default();
        let mut words = behind.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == name)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_the_record_names_as_left_behind_may_be_there() {
        let message =
            "blue serves; slot b; left behind, to be dropped by hand: slots a on green (silent)";
        let status = json!({ "timeline": [{ "message": message }] });
        assert!(is_named(&status, "green: slot a"));
        assert!(!is_named(&status, "green: slot b"));
        assert!(!is_named(&json!({}), "green: slot a"));
    }

    fn status(flips: usize) -> Value {
        let flip = json!({"step": "flip", "event": "done"});
        let mut timeline = vec![json!({"step": "flip", "event": "intent"})];
        timeline.extend(vec![flip; flips]);
        json!({ "timeline": timeline })
    }

    #[test]
    fn each_flip_changes_the_writer_once() {
        assert_eq!(changes_allowed(&status(0), false), 0);
        assert_eq!(changes_allowed(&status(1), true), 1);
        assert_eq!(changes_allowed(&status(2), false), 2);
    }

    #[test]
    fn a_source_that_opens_without_its_target_changes_the_writer_without_a_flip() {
        assert_eq!(changes_allowed(&status(1), false), 2);
    }
}
