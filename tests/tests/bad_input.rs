//! Bad input: each with its exit code and the message that a person reads.

#[path = "bad_input/files.rs"]
mod files;
#[path = "bad_input/migrations.rs"]
mod migrations;
#[path = "bad_input/serving.rs"]
mod serving;
#[path = "bad_input/sidecar_cache.rs"]
mod sidecar_cache;
#[path = "bad_input/table.rs"]
mod table;
