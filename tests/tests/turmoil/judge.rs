//! What was promised, held against what happened.

use anyhow::{Context as _, Result};
use pointsman_lab::workload::{Clock, EventKind, Moment, Record, verify::WriteAudit};
use pointsman_tests::migration::{Entry, MigrationStatus};
use serde::Serialize;
use serde_json::Value;

use super::churn::Life;

/// The content of `target/fleet-turmoil/report.json`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) envoys: usize,
    pub(crate) streams: usize,
    pub(crate) came: usize,
    pub(crate) went: usize,
    /// Switches there and back that reached their end.
    pub(crate) switches: usize,
    pub(crate) ways_back: usize,
    /// Switches that were refused or undone, with what was said.
    pub(crate) vetoed: Vec<String>,
    /// Members that served through a whole hold and are not named in its record.
    pub(crate) passed_over: Vec<String>,
    /// Members that were taken for gone while they served.
    pub(crate) given_up: Vec<String>,
    /// Members whose acknowledgements were awaited, over all holds.
    pub(crate) acknowledged: usize,
    pub(crate) left: usize,
    pub(crate) joined: usize,
    /// Longest time from a hold's publish to its acknowledgement by the fleet.
    pub(crate) slowest_barrier_ms: f64,
    pub(crate) acknowledged_writes: u64,
    pub(crate) lost: usize,
    pub(crate) duplicated: usize,
    pub(crate) out_of_order: usize,
    /// Writes that began after a server was fenced and that it acknowledged all the same.
    pub(crate) writes_on_a_fenced_server: usize,
    pub(crate) stranger_denied: bool,
    /// What a stranger's certificate was sent.
    pub(crate) stranger_was_sent: usize,
}

impl Report {
    /// Whether every promise was kept.
    pub(crate) fn kept(&self) -> bool {
        self.vetoed.is_empty()
            && self.passed_over.is_empty()
            && self.given_up.is_empty()
            && self.lost + self.duplicated + self.out_of_order == 0
            && self.writes_on_a_fenced_server == 0
            && self.stranger_denied
            && self.stranger_was_sent == 0
            && self.switches > 0
            && self.switches == self.ways_back
            && self.acknowledged_writes > 0
            && self.went > 0
    }

    pub(crate) fn take_audit(&mut self, audit: &WriteAudit) {
        self.lost = audit.lost.len();
        self.duplicated = audit.duplicated.len();
        self.out_of_order = audit.out_of_order.len();
    }

    /// Holds the record of one switch against the lives of the members.
    pub(crate) fn take_switch(
        &mut self,
        status: &MigrationStatus,
        switch: u32,
        lives: &[Life],
        clock: &Clock,
    ) -> Result<()> {
        let hold = done(status, switch, "hold")?;
        let convergence = &hold.evidence["convergence"];
        let began = status.hold_published(switch, clock)?;
        let ended = began.after(std::time::Duration::from_secs_f64(
            status.barrier_ms(switch)? / 1000.0,
        ));
        let named = |field: &str| names(&convergence[field]);
        let acknowledged = named("acknowledged");
        let (left, joined) = (named("left"), named("joined"));
        self.acknowledged += acknowledged.len();
        self.left += left.len();
        self.joined += joined.len();
        self.slowest_barrier_ms = self.slowest_barrier_ms.max(status.barrier_ms(switch)?);
        let served = |life: &&Life| life.came < began && life.went.is_none_or(|went| went > ended);
        for life in lives.iter().filter(served) {
            if !acknowledged.contains(&life.id) {
                self.passed_over
                    .push(format!("switch {switch}: {}", life.id));
            }
            if left.contains(&life.id) {
                self.given_up.push(format!("switch {switch}: {}", life.id));
            }
        }
        Ok(())
    }
}

/// From when to when a server was fenced, by the record of a migration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fenced {
    pub(crate) server: u16,
    pub(crate) from: Moment,
    pub(crate) to: Option<Moment>,
}

impl Fenced {
    /// The server that `switch` left, from the end of its fence to the beginning of `reopened`'s flip.
    pub(crate) fn by(
        status: &MigrationStatus,
        (server, switch): (u16, u32),
        reopened: Option<u32>,
        clock: &Clock,
    ) -> Result<Self> {
        let fence = done(status, switch, "fence")?;
        let to = match reopened {
            None => None,
            Some(switch) => {
                let mut entries = status.switch(switch);
                let flip = entries.find(|entry| entry.step == "flip" && entry.event == "intent");
                Some(clock.at_unix_ms(flip.context("no flip on record")?.at_ms))
            }
        };
        Ok(Self {
            server,
            // The record is of a whole millisecond.
            from: clock.at_unix_ms(fence.at_ms + 1),
            to,
        })
    }

    /// The writes that began meanwhile and that the server acknowledged.
    pub(crate) fn writes(&self, record: &Record) -> usize {
        let within = |at: Moment| at > self.from && self.to.is_none_or(|to| at < to);
        let events = record.writers().flat_map(|client| &client.events);
        let written = events.filter(|event| match event.kind {
            EventKind::Acked { server, began, .. } => {
                server == self.server && within(began) && within(event.at)
            }
            EventKind::Connected { .. } | EventKind::Read { .. } | EventKind::Failed(_) => false,
        });
        written.count()
    }
}

fn done<'a>(status: &'a MigrationStatus, switch: u32, step: &str) -> Result<&'a Entry> {
    let mut entries = status.switch(switch);
    let found = entries.find(|entry| entry.step == step && entry.event == "done");
    found.with_context(|| format!("switch {switch} has no {step} on record"))
}

fn names(list: &Value) -> Vec<String> {
    let names = list.as_array().into_iter().flatten();
    names
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}
