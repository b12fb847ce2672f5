//! The shipped engine on a faithful fake of the servers, driven by seeds.
//!
//! Servers, sidecars, disk and clock are simulated; the engine, its steps and its machine are the
//! shipped ones. A seed decides everything that happens, so a run can be repeated exactly.

mod aim;
pub mod behaviours;
mod bystander;
mod clients;
mod clock;
mod fleet;
mod ledger;
mod network;
mod operator;
mod process;
mod promises;
mod provider;
mod replication;
mod report;
mod run;
mod schedule;
mod server;
mod store;
mod synchronous;
mod tables;
mod task;
mod trouble;
mod world;

pub use ledger::Violation;
pub use report::{Report, crossed, run_all};
pub use run::{Case, Fault, Outcome, run};
