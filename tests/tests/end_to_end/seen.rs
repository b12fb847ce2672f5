//! What the clients saw of a switch.

use pointsman_lab::workload::{
    ClientRecord, EventKind, Failure, FailureClass, Habit, Moment, Record,
};

/// The longest time, in milliseconds, from a client's first attempt at a write to its
/// acknowledgement.
pub(crate) fn longest_wait_ms(record: &Record) -> f64 {
    let events = record.clients.iter().flat_map(|client| &client.events);
    let waits = events.filter_map(|event| match event.kind {
        EventKind::Acked { began, .. } | EventKind::Read { began, .. } => {
            Some(event.at.ms_since(began))
        }
        EventKind::Connected { .. } | EventKind::Failed(_) => None,
    });
    waits.fold(0.0, f64::max)
}

/// Errors of connecting since `since`, of all clients: what a hold is to spare them.
pub(crate) fn connect_errors(record: &Record, since: Moment) -> Vec<&Failure> {
    let failures = record.clients.iter().flat_map(ClientRecord::failures);
    failures
        .filter(|(at, failure)| *at >= since && failure.class == FailureClass::Connect)
        .map(|(_, failure)| failure)
        .collect()
}

/// Errors since `since` of clients that reconnect for each statement: none of them loses a
/// session to a switch.
pub(crate) fn errors_of_reconnecting(record: &Record, since: Moment) -> Vec<&Failure> {
    let clients = record.clients.iter();
    clients
        .filter(|client| client.identity.habit == Habit::Reconnects)
        .flat_map(ClientRecord::failures)
        .filter(|(at, _)| *at >= since)
        .map(|(_, failure)| failure)
        .collect()
}
