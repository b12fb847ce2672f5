//! PostgreSQL 15 and later, by plain SQL over a control role's sessions.
//!
//! Does not: reach a cloud's API, or read WAL by the replication protocol.

mod acl;
mod admission;
mod checks;
mod client_sessions;
mod clients;
mod connection;
mod control_sessions;
mod dry_run;
mod fence;
mod grants;
mod hba;
mod hosts;
mod identity;
mod inspector;
mod leadership;
mod logins;
mod own_looks;
mod own_transaction;
mod powers;
mod preparation;
mod probe_sessions;
mod probe_table;
mod promotion;
mod provider;
mod publication;
mod record;
mod replication;
mod reverse;
mod server;
mod session;
mod session_control;
mod slots;
mod statements;
mod text;
mod wal;

pub use checks::CHECKS;
pub use connection::SecretSources;
pub use grants::{Grants, Management, RIGHTS, Right, RoleNames, Without};
pub use hba::{UnfitHba, fenced as fenced_hba};
pub use provider::PostgresProvider;
