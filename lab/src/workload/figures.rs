//! What one switch cost its clients, computed from what they recorded.

use anyhow::Context;

use super::clock::Moment;
use super::record::{
    ClientRecord, EventKind, Failure, FailureClass, Habit, Identity, Proof, Record, Role,
};

/// A switch as the clients can tell it: servers are known by the ports they report.
#[derive(Debug, Clone, Copy)]
pub struct Switch {
    /// When the hold was published.
    pub hold: Moment,
    /// The port of the server that was the writer before.
    pub old: u16,
    /// The port of the server that is the writer afterwards.
    pub new: u16,
    /// When this switch's time ends: at the next switch's hold, at a fault that is not the switch's, or with the run.
    pub until: Moment,
    /// The SQLSTATE with which a server that was broken before the hold refuses statements. Such a refusal inside the
    /// windows, until the old writer is closed, is the fault's and not the switch's.
    pub fault: Option<&'static str>,
}

/// What one switch cost its clients.
///
/// The window of a writer reaches from the hold to its own first acknowledged write on the new writer; the window of a
/// reader from the hold to its first answer to a read that it began after the first write was acknowledged on the new
/// writer. Errors count inside these windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// From the last write that the old writer acknowledged to the first that the new one did, in the worst database.
    /// Negative if two writers acknowledged at once.
    pub write_pause_ms: f64,
    /// The part of it that lies after the hold.
    pub write_pause_after_hold_ms: f64,
    /// The longest time that any one writer waited: from the first attempt of a write to its acknowledgement.
    pub worst_client_ms: f64,
    /// The part of it that lies after the hold.
    pub worst_client_after_hold_ms: f64,
    /// The longest time that any one reader waited: from the first attempt of a read to its answer.
    pub reader_gap_ms: f64,
    /// The part of it that lies after the hold.
    pub reader_gap_after_hold_ms: f64,
    /// Sessions that could not be opened, writers' and readers'.
    pub connect_errors: u64,
    /// The most errors that any one writer had which keeps its session.
    pub max_errors_per_session_client: u64,
    /// Errors of writers that connect for each write.
    pub errors_of_reconnecting_clients: u64,
    /// Errors of readers that connect for each read, and failed connects of the other readers.
    pub reader_errors_new_connections: u64,
    /// All errors, session readers' included.
    pub errors: u64,
    /// Refusals of the fault's kind, which no other figure counts.
    pub errors_of_the_fault: u64,
}

/// The time in which a client is subject to a switch.
#[derive(Clone, Copy)]
struct Window {
    from: Moment,
    to: Moment,
}

impl Record {
    /// Computes what a switch cost.
    ///
    /// # Errors
    /// The record does not hold the switch: a database without a write acknowledged before or after it, or a client
    /// that did not get through again in the switch's time.
    pub fn figures(&self, switch: &Switch) -> anyhow::Result<Figures> {
        let mut figures = Figures::nothing();
        let mut released: Option<Moment> = None;
        for datname in self.datnames() {
            let (last_old, first_new) = self.edges(datname, switch)?;
            let pause = first_new.ms_since(last_old);
            let after_hold = first_new.ms_since(last_old.max(switch.hold));
            raise(&mut figures.write_pause_ms, pause);
            raise(&mut figures.write_pause_after_hold_ms, after_hold);
            released = Some(released.map_or(first_new, |moment| moment.max(first_new)));
        }
        let released = released.context("the record has no writer")?;
        for client in &self.clients {
            let window = client.window(switch, released)?;
            figures.add(client, window, switch.fault);
        }
        Ok(figures)
    }

    /// How many errors clients had from `from` up to, not including, `to`.
    #[must_use]
    pub fn errors_between(&self, from: Moment, to: Moment) -> u64 {
        let window = Window { from, to };
        let clients = self.clients.iter();
        clients
            .map(|client| client.errors_in(window).count() as u64)
            .sum()
    }

    /// The last errors of the run newest first.
    #[must_use]
    pub fn last_errors(&self, at_most: usize) -> String {
        let mut errors: Vec<(Moment, &Identity, &Failure)> = Vec::new();
        for client in &self.clients {
            let failures = client.failures();
            errors.extend(failures.map(|(at, failure)| (at, &client.identity, failure)));
        }
        errors.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let lines = errors.iter().take(at_most).map(|(at, who, failure)| {
            let at_s = at.ms_since(Moment::from_micros(0)) / 1000.0;
            let Failure { class, message, .. } = failure;
            format!("{at_s:.3} s, client {}: {class:?}: {message}", who.client)
        });
        let lines: Vec<String> = lines.collect();
        match lines.is_empty() {
            true => "none".to_owned(),
            false => lines.join("; "),
        }
    }

    /// The last acknowledgement by the old writer and the first by the new one.
    fn edges(&self, datname: &str, switch: &Switch) -> anyhow::Result<(Moment, Moment)> {
        let writers = self.writers().filter(|c| c.identity.datname == datname);
        let mut last_old: Option<Moment> = None;
        let mut first_new: Option<Moment> = None;
        for client in writers {
            let before = client
                .replies(switch.old)
                .take_while(|at| *at < switch.until);
            last_old = last_old.max(before.last());
            let after = client.replies(switch.new).find(|at| *at >= switch.hold);
            first_new = [first_new, after].into_iter().flatten().min();
        }
        let last_old = last_old.with_context(|| {
            format!(
                "{datname}: no write acknowledged by the old writer, port {}",
                switch.old
            )
        })?;
        let first_new = first_new.filter(|at| *at < switch.until).with_context(|| {
            format!(
                "{datname}: no write acknowledged by the new writer, port {}",
                switch.new
            )
        })?;
        Ok((last_old, first_new))
    }
}

impl ClientRecord {
    /// When this writer got answers from `server`, in order.
    fn replies(&self, port: u16) -> impl Iterator<Item = Moment> {
        self.events
            .iter()
            .filter_map(move |event| match event.kind {
                EventKind::Acked {
                    server,
                    proof: Proof::Reply,
                    ..
                } if server == port => Some(event.at),
                EventKind::Acked { .. }
                | EventKind::Connected { .. }
                | EventKind::Read { .. }
                | EventKind::Failed(_) => None,
            })
    }

    fn window(&self, switch: &Switch, released: Moment) -> anyhow::Result<Window> {
        let Switch {
            hold, new, until, ..
        } = *switch;
        let through = match self.identity.role {
            Role::Writer => self.replies(new).find(|at| *at >= hold),
            Role::Reader => {
                let waits = self.waits().filter(|(began, _)| *began >= released);
                waits.map(|(_, at)| at).next()
            }
        };
        let to = through.filter(|at| *at < until).with_context(|| {
            let Identity {
                client,
                datname,
                role,
                ..
            } = &self.identity;
            format!("{role:?} {client} of {datname} did not get through after the switch")
        })?;
        Ok(Window { from: hold, to })
    }

    /// Each answered write or read: first attempted, answered.
    fn waits(&self) -> impl Iterator<Item = (Moment, Moment)> {
        self.events.iter().filter_map(|event| match event.kind {
            EventKind::Acked { began, .. } | EventKind::Read { began, .. } => {
                Some((began, event.at))
            }
            EventKind::Connected { .. } | EventKind::Failed(_) => None,
        })
    }

    fn errors_in(&self, window: Window) -> impl Iterator<Item = &Failure> {
        let Window { from, to } = window;
        let failures = self.failures();
        failures
            .filter(move |(at, _)| *at >= from && *at < to)
            .map(|(_, failure)| failure)
    }
}

impl Figures {
    const fn nothing() -> Self {
        Self {
            write_pause_ms: f64::NEG_INFINITY,
            write_pause_after_hold_ms: f64::NEG_INFINITY,
            worst_client_ms: 0.0,
            worst_client_after_hold_ms: 0.0,
            reader_gap_ms: 0.0,
            reader_gap_after_hold_ms: 0.0,
            connect_errors: 0,
            max_errors_per_session_client: 0,
            errors_of_reconnecting_clients: 0,
            reader_errors_new_connections: 0,
            errors: 0,
            errors_of_the_fault: 0,
        }
    }

    fn add(&mut self, client: &ClientRecord, window: Window, fault: Option<&str>) {
        let Window { from, to } = window;
        let (whole, after_hold) = match client.identity.role {
            Role::Writer => (
                &mut self.worst_client_ms,
                &mut self.worst_client_after_hold_ms,
            ),
            Role::Reader => (&mut self.reader_gap_ms, &mut self.reader_gap_after_hold_ms),
        };
        for (began, at) in client
            .waits()
            .filter(|(began, at)| *began <= to && *at >= from)
        {
            raise(whole, at.ms_since(began));
            raise(after_hold, at.ms_since(began.max(from)));
        }
        let (mut errors, mut connects) = (0, 0);
        for failure in client.errors_in(window) {
            match (failure.class, &failure.sqlstate, fault) {
                (FailureClass::Statement, Some(said), Some(fault)) if said == fault => {
                    self.errors_of_the_fault += 1;
                    continue;
                }
                (FailureClass::Connect, ..) => connects += 1,
                (
                    FailureClass::SessionLost | FailureClass::Statement | FailureClass::InDoubt,
                    ..,
                ) => {}
            }
            errors += 1;
        }
        self.errors += errors;
        self.connect_errors += connects;
        let Identity { role, habit, .. } = client.identity;
        match (role, habit) {
            (Role::Writer, Habit::KeepsSession) => {
                let most = &mut self.max_errors_per_session_client;
                *most = (*most).max(errors);
            }
            (Role::Writer, Habit::Reconnects) => self.errors_of_reconnecting_clients += errors,
            (Role::Reader, Habit::Reconnects) => self.reader_errors_new_connections += errors,
            (Role::Reader, Habit::KeepsSession) => self.reader_errors_new_connections += connects,
        }
    }
}

fn raise(most: &mut f64, value: f64) {
    *most = most.max(value);
}

#[cfg(test)]
mod tests;
