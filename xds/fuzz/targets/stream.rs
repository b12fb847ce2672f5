//! Interleavings of everything that can happen to a stream, against the reference model.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman_xds::fuzzing::streams(bytes));
