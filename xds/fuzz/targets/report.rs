//! Reports of telemetry, read one piece at a time, against the same decoded whole.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman_xds::fuzzing::reports(bytes));
