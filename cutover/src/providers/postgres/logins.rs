//! Who could log in to the source in the bake although its databases are shut.

use super::session::Session;
use crate::ports::ProviderError;

/// The roles that pass what shuts the databases of a source to strangers.
#[derive(Debug, Default)]
pub(super) struct Logins {
    /// Arming takes their LOGIN.
    pub(super) to_take: Vec<String>,
    /// They keep it.
    pub(super) kept: Vec<String>,
}

impl Logins {
    /// Those of the server of `session`.
    pub(super) async fn of(session: &Session) -> Result<Self, ProviderError> {
        let rows = session
            .rows("look who else can log in", ADMITTED, &[])
            .await?;
        let mut logins = Self::default();
        for row in &rows {
            let of = match row.get(1) {
                true => &mut logins.to_take,
                false => &mut logins.kept,
            };
            of.push(row.get(0));
        }
        Ok(logins)
    }
}

/// The roles that enter all the same, and whether the control role may take their LOGIN. They are
/// other superusers; replication roles, whose sessions pass a connection limit; and where CONNECT keeps
/// strangers out, which stops replication roles too, the members of the control role. A role
/// without superuser needs CREATEROLE for that, from 16 on with ADMIN on the other role. A standby that
/// stays would not come back without its role.
/// <https://www.postgresql.org/docs/current/sql-alterrole.html>
const ADMITTED: &str = "SELECT r.rolname::text, own.rolsuper AND (r.rolsuper OR NOT EXISTS ( \
         SELECT FROM pg_stat_replication s JOIN pg_stat_activity a USING (pid) \
           WHERE s.usesysid = r.oid AND a.datname IS NULL)) \
       OR (own.rolcreaterole \
         AND NOT (r.rolsuper OR r.rolreplication OR r.rolbypassrls) \
         AND (current_setting('server_version_num')::int < 160000 \
           OR pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'))) \
     FROM pg_roles r, pg_roles own WHERE own.rolname = current_user AND r.oid <> own.oid \
       AND r.rolcanlogin \
       AND (r.rolsuper OR own.rolsuper AND r.rolreplication \
         OR NOT own.rolsuper AND pg_has_role(r.oid, own.oid, 'USAGE')) \
     ORDER BY 1";
