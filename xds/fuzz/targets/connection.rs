//! The bytes of a client, cut anywhere, into a connection whose socket takes what it likes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman_xds::fuzzing::connection(bytes));
