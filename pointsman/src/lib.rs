//! The program: the one place where the catalogue, the xDS server, the sidecars'
//! configuration and the cutover engine meet. An admin server and a command line on top.

mod admin;
mod alarms;
mod chain;
pub mod cli;
mod flip;
mod providers;
mod publish;
mod serve;
mod server_status;
mod settings;
mod spiffe;
mod telemetry;
