use serde::Deserialize;

use super::{super::statements::identifier, place::Place};

/// The role by which a migration drives a server, and by which checks ask it.
#[derive(Debug, Deserialize)]
pub(super) struct ControlRole {
    pub(super) name: String,
    /// `server_version_num` of the server.
    pub(super) version: i64,
    pub(super) superuser: bool,
    pub(super) may_rename: bool,
    /// Sessions of others.
    pub(super) may_see: bool,
    pub(super) may_end: bool,
    pub(super) may_promote: bool,
    /// `None` where PostgreSQL has no role for that.
    pub(super) may_subscribe: Option<bool>,
    /// Amazon RDS gives the right to replicate by a role of its own.
    pub(super) on_rds: bool,
}

impl ControlRole {
    /// Asks the server at `place`; the error is why that could not be found out.
    pub(super) async fn of(place: Place<'_>) -> Result<Self, String> {
        place.ask_one(SELECT).await
    }

    /// Before PostgreSQL 16 only a superuser makes a subscription.
    /// <https://www.postgresql.org/docs/16/release-16.html>
    pub(super) fn makes_subscriptions(&self) -> bool {
        self.superuser || self.version >= WITHOUT_SUPERUSER
    }

    /// What lets `role` of this server replicate.
    pub(super) fn replicate(&self, role: &str) -> String {
        if self.on_rds {
            format!("GRANT rds_replication TO {}", identifier(role))
        } else {
            format!("ALTER ROLE {} REPLICATION", identifier(role))
        }
    }
}

/// `server_version_num` of the first release with `pg_create_subscription`.
pub(super) const WITHOUT_SUPERUSER: i64 = 160_000;

const SELECT: &str = "
SELECT r.rolname::text AS name, current_setting('server_version_num')::int AS version,
       r.rolsuper AS superuser, r.rolcreatedb AS may_rename,
       pg_has_role('pg_read_all_stats', 'USAGE') AS may_see,
       pg_has_role('pg_signal_backend', 'USAGE') AS may_end,
       has_function_privilege('pg_catalog.pg_promote(boolean, integer)', 'EXECUTE') AS may_promote,
       (SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = 'pg_create_subscription') AS may_subscribe,
       EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') AS on_rds
FROM pg_roles r WHERE r.rolname = current_user";

/// One of PostgreSQL 15 that may do everything but what takes a superuser, with the fields of
/// `change`, for tests.
#[cfg(test)]
pub(super) fn role(change: &serde_json::Value) -> ControlRole {
    let mut role = serde_json::json!({
        "name": "pointsman", "version": 150_018, "superuser": false, "may_rename": true, "may_see": true,
        "may_end": true, "may_promote": true, "may_subscribe": true, "on_rds": false
    });
    for (key, value) in change.as_object().unwrap() {
        role[key] = value.clone();
    }
    serde_json::from_value(role).unwrap()
}
