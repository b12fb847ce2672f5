//! Header blocks, decoded and encoded, against the `h2` crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman_xds::fuzzing::header_blocks(bytes));
