//! The switch: a pure [`machine`], an [`Engine`] with a journal, [`checks`], and
//! providers behind [`ports`].
//!
//! Desired state goes down to the sidecars, evidence comes up, and only the engine turns
//! evidence into the next desired state. This crate sees neither Envoy nor gRPC.

pub mod checks;
mod engine;
pub mod journal;
mod lease;
mod lsn;
pub mod machine;
pub mod migration;
pub mod ports;
mod preflight;
pub mod providers;
mod settings;
mod steps;

pub use engine::{
    Choice, ChoiceName, Engine, EngineError, ErrorKind, NewMigration, Status, WayBack, WayBackKind,
};
pub use lsn::{Lsn, LsnError};
pub use ports::Ports;
pub use settings::Settings;
pub use steps::cut_off_standby;
