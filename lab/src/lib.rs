//! The lab: real PostgreSQL servers, real Envoys, the real program, gates between them that
//! tests open and shut, and clients that verify every write.
//!
//! Everything runs on loopback addresses of this machine, under this process: its processes
//! end on drop, and also when this process is killed. Set
//! `POINTSMAN_LAB_KEEP` to keep the files, logs among them.

pub mod authorities;
pub mod authority;
pub mod control_plane;
mod deployment;
pub mod envoy;
pub mod gate;
pub mod http;
pub mod patience;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod result_file;
pub mod scratch;
pub mod store;
pub mod tools;
pub mod workload;

pub use self::deployment::{Cloud, Database, GateOptions, Gates, Lab, LabOptions, sidecar_name};
