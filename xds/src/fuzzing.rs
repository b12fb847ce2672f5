//! Entry points for fuzzers. Compiled for fuzzing only.

use crate::{
    stream::{Transport, model},
    telemetry::reference,
};

/// Encoded requests, each after its length in two bytes. The first byte selects delta or state of the
/// world.
pub fn requests(bytes: &[u8]) {
    crate::server::fuzzing::requests(bytes);
}

/// Each byte is a choice in a run against the reference model.
///
/// # Panics
/// If the stream machine breaks a rule.
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

/// A telemetry report after a byte that selects its kind.
///
/// # Panics
/// If the report is read differently than the full decoder reads it.
pub fn reports(bytes: &[u8]) {
    if let Err(difference) = reference::check(bytes) {
        panic!("{difference}");
    }
}

/// One HTTP/2 frame of a client.
///
/// # Panics
/// If the `h2` crate reads it, or what is written, otherwise.
pub fn frame(bytes: &[u8]) {
    crate::http2::fuzzing::frame(bytes);
}

/// The header blocks of one connection, each behind its length in a byte.
///
/// # Panics
/// If the `h2` crate decodes them otherwise.
pub fn header_blocks(bytes: &[u8]) {
    crate::http2::fuzzing::header_block(bytes);
}

/// What a client does on one connection, behind a byte that says how its bytes are cut.
///
/// # Panics
/// If the connection breaks a rule, or the cuts make a difference.
pub fn connection(bytes: &[u8]) {
    crate::http2::fuzzing::connection(bytes);
}
