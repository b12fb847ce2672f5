//! The switch: a pure machine, an engine with a journal, checks, and providers
//! behind ports. This crate sees neither Envoy nor gRPC.

mod lsn;
pub mod ports;

pub use lsn::{Lsn, LsnError};
