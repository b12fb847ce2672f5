//! The program: it joins catalogue, xDS server, sidecar configuration and cutover engine, and
//! adds an admin server and a command line.

mod admin;
mod alarms;
pub mod cli;
mod flip;
mod parts;
mod providers;
mod publish;
mod serve;
mod server_status;
mod settings;
mod sidecar_cache;
mod spiffe;
mod telemetry;

pub use parts::{Parts, WrapStore};
pub use providers::MoreProviders;
