//! A model of a switch: the machine of `pointsman-cutover` itself, driven as its driver drives it,
//! among everything that can happen around it within bounds. `docs/model.md` says what is modelled.

mod action;
mod bounds;
#[cfg(feature = "stateright")]
mod check;
mod ends;
mod engine;
mod environment;
mod fault;
mod fault_table;
mod fingerprint;
mod graph;
mod key;
mod message;
mod outage;
mod process;
mod reach;
mod relevance;
mod report;
mod search;
mod server;
mod statements;
mod steps;
mod trace;
mod violation;
mod workspace_copy;
mod world;

pub use action::Action;
pub use bounds::{Promotion, Troubles};
#[cfg(feature = "stateright")]
pub use check::{Checked, SwitchModel};
pub use ends::Stuck;
pub use fault::{CaughtBy, Fault};
pub use fault_table::{Former, Outcome as FaultOutcome, Row, Sources, Summary};
pub use graph::{Broken, Explored, Seen};
pub use message::{Api, Message, Route, Statement};
pub use process::{Coverage, Facts, Process, Record, Session, Who};
pub use reach::{Outcome, Patience};
pub use report::{Pass, Report};
pub use server::{Access, Meddling, Power, Slots, Source, Strayed, Target};
pub use trace::Trace;
pub use violation::{COMES_THROUGH, REACHES_END, Violation, Violations};
pub use workspace_copy::WorkspaceCopy;
pub use world::World;
