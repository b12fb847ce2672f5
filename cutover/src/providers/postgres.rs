//! PostgreSQL 15 and later, by plain SQL over a control role's sessions.
//!
//! Does not: reach a cloud's API, read WAL by the replication protocol, or speak TLS yet.

mod checks;
mod dry_run;
mod fence;
mod hba;
mod identity;
mod inspector;
mod prepare;
mod promote;
mod provider;
mod record;
mod reverse;
mod server;
mod session;
mod sessions;
mod statements;
mod wal;

pub use checks::CHECKS;
pub use hba::{UnfitHba, fenced as fenced_hba};
pub use provider::PostgresProvider;
