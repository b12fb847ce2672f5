//! A model of a switch: the machine of `pointsman-cutover` itself, driven as its driver drives it,
//! among everything that can happen around it within bounds. `docs/model.md` says what is modelled.

mod action;
mod bounds;
#[cfg(feature = "stateright")]
mod check;
mod engine;
mod environment;
mod graph;
mod key;
mod message;
mod process;
mod reach;
mod report;
mod server;
mod statements;
mod steps;
mod trace;
mod violation;
mod world;

pub use action::Action;
pub use bounds::{Promotion, Troubles};
#[cfg(feature = "stateright")]
pub use check::{Checked, SwitchModel};
pub use graph::{Explored, Stuck};
pub use message::{Api, Message, Route, Statement};
pub use process::{Facts, Process, Record, Session, Who};
pub use reach::{Outcome, Patience};
pub use report::{Pass, Report};
pub use server::{Access, Meddling, Power, Slots, Source, Target};
pub use trace::Trace;
pub use violation::{Violation, Violations};
pub use world::World;
