//! Bytes as a client may send them, into the decoder and the machine behind it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman_xds::fuzzing::requests(bytes));
