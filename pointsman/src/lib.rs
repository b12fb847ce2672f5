//! The program: the one place where the catalogue, the xDS server, the sidecars'
//! configuration and the cutover engine meet. An admin server and a command line on top.

mod admin;
mod alarms;
mod chain;
pub mod cli;
mod evidence;
mod fleet;
mod flip;
mod identity;
mod observe;
mod providers;
mod serve;
mod settings;
