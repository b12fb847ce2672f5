//! One frame, read and written, against the `h2` crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman_xds::fuzzing::frame(bytes));
