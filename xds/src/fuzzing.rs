//! What a fuzzer calls. Only there in builds for one.

use crate::{
    stream::{Transport, model},
    telemetry::reference,
};

/// Requests as they come from the wire, one after the other, each behind its length in two
/// bytes; the first byte of all says by which form of the protocol.
pub fn requests(bytes: &[u8]) {
    crate::server::fuzzing::requests(bytes);
}

/// Each byte is a decision in a play against the reference model.
///
/// # Panics
/// If the machine breaks a rule.
pub fn streams(bytes: &[u8]) {
    let Some((transport, choices)) = bytes.split_first() else {
        return;
    };
    let transport = match transport % 2 {
        0 => Transport::Delta,
        _ => Transport::StateOfTheWorld,
    };
    let mut script = model::Script::new(choices);
    if let Err(broken) = model::play(transport, &mut script, choices.len().min(400)) {
        panic!("{transport:?}: {broken}");
    }
}

/// A report of telemetry behind a byte that says of which kind.
///
/// # Panics
/// If it is read otherwise than it decodes.
pub fn reports(bytes: &[u8]) {
    if let Err(difference) = reference::check(bytes) {
        panic!("{difference}");
    }
}
