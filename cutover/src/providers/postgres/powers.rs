//! What the control role may do on a server.

use std::collections::BTreeSet;

use super::{session::Session, text::identifier};
use crate::ports::{NotOffered, ProviderError};

/// The rights of the control role, observed once when a server is attached. Every statement
/// that depends on them is derived from this value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Powers {
    pub(super) role: String,
    pub(super) superuser: bool,
    /// `server_version_num`.
    pub(super) version: i32,
    /// May rename a database that it owns.
    pub(super) create_databases: bool,
    /// `REPLICATION`, or membership in RDS's `rds_replication`.
    pub(super) replicate: bool,
    /// Member of `pg_create_subscription`, which PostgreSQL has from 16 on.
    pub(super) create_subscriptions: bool,
    /// `EXECUTE` on `pg_promote`.
    pub(super) promote: bool,
    /// `EXECUTE` on `pg_read_file`.
    pub(super) read_files: bool,
    /// Databases whose owner it is, by membership too: it can close them.
    pub(super) owned: BTreeSet<String>,
    /// Databases that accepted connections and whose owner it is not.
    pub(super) not_closable: Vec<String>,
    /// Their oids, as WAL records name databases.
    pub(super) not_closable_oids: Vec<String>,
}

/// How strangers are kept out of a database that the control role itself must enter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    /// `CONNECTION LIMIT 0`, which superusers pass.
    Limit,
    /// `CONNECT` is taken from everybody else: the limit would stop the control role too.
    AccessList,
}

/// How the end of starting backends is awaited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BackendWait {
    /// `SET TABLESPACE` to its own, which needs CREATE on the tablespace.
    Tablespace,
    /// `RENAME` to its own name, which takes the same lock and then is refused.
    Rename,
}

impl Powers {
    /// Reads the rights of the role that `session` runs as.
    pub(super) async fn observe(session: &Session) -> Result<Self, ProviderError> {
        let what = "read what the control role may do";
        let row = session.row(what, POWERS, &[]).await?;
        let (login, role): (String, String) = (row.get("login"), row.get("role"));
        if login != role {
            let (reason, remedy) = acts_as_another(&login, &role);
            return Err(session.unfit(&format!("{reason}; {remedy}")));
        }
        let owned: Vec<String> = row.get("owned");
        Ok(Self {
            role,
            superuser: row.get("superuser"),
            version: row.get("version"),
            create_databases: row.get("create_databases"),
            replicate: row.get("replicate"),
            create_subscriptions: row.get("create_subscriptions"),
            promote: row.get("promote"),
            read_files: row.get("read_files"),
            owned: owned.into_iter().collect(),
            not_closable: row.get("not_closable"),
            not_closable_oids: row.get("not_closable_oids"),
        })
    }

    /// Fails where it can close other databases by now: what preflight has seen and what these powers
    /// would close are two things then.
    pub(super) async fn closes_the_same(&self, session: &Session) -> Result<(), ProviderError> {
        if self.superuser {
            return Ok(());
        }
        let what = "look again which databases it can close";
        let row = session.row(what, CLOSABLE, &[]).await?;
        let owned: Vec<String> = row.get("owned");
        let not_closable: Vec<String> = row.get("not_closable");
        let changed = self.changed(&owned.into_iter().collect(), &not_closable);
        if changed.is_empty() {
            return Ok(());
        }
        Err(session.unfit(&format!(
            "it has changed meanwhile which databases the control role {} can close ({}); nothing was \
             closed; look at preflight, and begin again",
            self.role,
            changed.into_iter().collect::<Vec<_>>().join(", ")
        )))
    }

    /// Databases that changed hands.
    fn changed(&self, owned: &BTreeSet<String>, not_closable: &[String]) -> BTreeSet<String> {
        let before: BTreeSet<_> = self.not_closable.iter().cloned().collect();
        let now: BTreeSet<_> = not_closable.iter().cloned().collect();
        let hands = self.owned.symmetric_difference(owned).cloned();
        hands
            .chain(before.symmetric_difference(&now).cloned())
            .collect()
    }

    pub(super) fn door(&self) -> Door {
        if self.superuser {
            Door::Limit
        } else {
            Door::AccessList
        }
    }

    pub(super) fn backend_wait(&self) -> BackendWait {
        if self.create_databases && !self.superuser {
            BackendWait::Rename
        } else {
            BackendWait::Tablespace
        }
    }

    /// Whether it can close `datname`.
    pub(super) fn owns(&self, datname: &str) -> bool {
        self.superuser || self.owned.contains(datname)
    }

    /// Whether it can be the subscriber of a reverse stream, or why not.
    pub(super) fn subscribe(&self) -> Result<(), NotOffered> {
        if self.superuser || self.create_subscriptions {
            return Ok(());
        }
        let role = &self.role;
        Err(if self.version < SUBSCRIPTIONS_WITHOUT_SUPERUSER {
            NotOffered {
                reason: format!(
                    "before PostgreSQL 16 only a superuser makes a subscription, and the control \
                     role {role} is none: once the target was written to, there is no way back \
                     without loss"
                ),
                remedy: "make the control role a superuser, or do without that way back".to_owned(),
            }
        } else {
            NotOffered {
                reason: format!("the control role {role} may not make a subscription"),
                remedy: format!("run GRANT pg_create_subscription TO {}", identifier(role)),
            }
        })
    }

    /// Whether it can make logical slots, or why not.
    pub(super) fn publish(&self) -> Result<(), NotOffered> {
        if self.replicate {
            return Ok(());
        }
        Err(NotOffered {
            reason: format!(
                "the control role {} may not make replication slots",
                self.role
            ),
            remedy: format!(
                "run ALTER ROLE {0} REPLICATION (on RDS: GRANT rds_replication TO {0})",
                identifier(&self.role)
            ),
        })
    }

    /// Whether it can promote by SQL, or why not.
    pub(super) fn promote(&self) -> Result<(), NotOffered> {
        if self.promote {
            return Ok(());
        }
        Err(NotOffered {
            reason: format!("the control role {} may not run pg_promote", self.role),
            remedy: format!(
                "run GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO {} on the source",
                identifier(&self.role)
            ),
        })
    }
}

const SUBSCRIPTIONS_WITHOUT_SUPERUSER: i32 = 160_000;

/// Why a control role that acts as another one is not taken, and what to do. Sessions are known by the
/// role that logged in, statements by the one that acts.
pub(super) fn acts_as_another(login: &str, role: &str) -> (String, String) {
    (
        format!("the control role logs in as {login} and acts as {role}"),
        format!(
            "run ALTER ROLE {} RESET role, or take role= out of the options= of `control`, and grant \
             what is needed to {login}",
            identifier(login)
        ),
    )
}

macro_rules! closable {
    () => {
        "ARRAY(SELECT datname::text FROM pg_database WHERE pg_has_role(datdba, 'USAGE')) AS owned, \
         ARRAY(SELECT datname::text FROM pg_database \
           WHERE datallowconn AND NOT pg_has_role(datdba, 'USAGE') ORDER BY 1) AS not_closable"
    };
}

/// Ownership and rights follow memberships: `USAGE` is what the role has without `SET ROLE`.
/// <https://www.postgresql.org/docs/current/functions-info.html>
const POWERS: &str = concat!(
    "SELECT session_user::text AS login, current_user::text AS role, r.rolsuper AS superuser, \
       current_setting('server_version_num')::int AS version, \
       r.rolsuper OR r.rolcreatedb AS create_databases, \
       r.rolsuper OR r.rolreplication OR EXISTS (SELECT FROM pg_roles g \
         WHERE g.rolname = 'rds_replication' AND pg_has_role(g.oid, 'USAGE')) AS replicate, \
       EXISTS (SELECT FROM pg_roles g WHERE g.rolname = 'pg_create_subscription' \
         AND pg_has_role(g.oid, 'USAGE')) AS create_subscriptions, \
       has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE') AS promote, \
       has_function_privilege('pg_read_file(text, bigint, bigint, boolean)', 'EXECUTE') \
         AS read_files, \
       ",
    closable!(),
    ", \
       ARRAY(SELECT oid::text FROM pg_database \
         WHERE datallowconn AND NOT pg_has_role(datdba, 'USAGE')) AS not_closable_oids \
     FROM pg_roles r WHERE r.rolname = current_user"
);

/// Reads no settings of roles, which a backend that is starting may have locked.
const CLOSABLE: &str = concat!("SELECT ", closable!());

#[cfg(test)]
mod tests {
    use super::*;

    fn superuser() -> Powers {
        Powers {
            role: "postgres".to_owned(),
            superuser: true,
            version: 150_018,
            create_databases: true,
            replicate: true,
            promote: true,
            ..Powers::default()
        }
    }

    #[test]
    fn a_superuser_shuts_by_the_limit_and_waits_by_the_tablespace() {
        let powers = superuser();
        assert_eq!(powers.door(), Door::Limit);
        assert_eq!(powers.backend_wait(), BackendWait::Tablespace);
        assert!(powers.owns("anything"));
        assert_eq!(powers.subscribe(), Ok(()));
    }

    #[test]
    fn a_lesser_role_shuts_by_the_access_list_and_waits_by_the_rename() {
        let powers = Powers {
            superuser: false,
            ..superuser()
        };
        assert_eq!(powers.door(), Door::AccessList);
        assert_eq!(powers.backend_wait(), BackendWait::Rename);
        assert!(!powers.owns("rdsadmin"));
    }

    #[test]
    fn databases_that_change_hands_are_told() {
        let names = |all: &[&str]| -> Vec<String> { all.iter().map(|&it| it.to_owned()).collect() };
        let before = Powers {
            owned: names(&["orders", "postgres"]).into_iter().collect(),
            not_closable: names(&["rdsadmin", "stock"]),
            ..Powers::default()
        };
        for (owned, not_closable, told) in [
            (
                &["orders", "postgres"][..],
                &["rdsadmin", "stock"][..],
                &[][..],
            ),
            (&["orders", "postgres", "stock"], &["rdsadmin"], &["stock"]),
            (&["postgres"], &["orders", "rdsadmin", "stock"], &["orders"]),
            (
                &["orders", "postgres"],
                &["new", "rdsadmin", "stock"],
                &["new"],
            ),
        ] {
            let owned = names(owned).into_iter().collect();
            let changed = before.changed(&owned, &names(not_closable));
            assert_eq!(changed.into_iter().collect::<Vec<_>>(), names(told));
        }
    }

    #[test]
    fn what_a_role_may_not_do_comes_with_the_grant_that_helps() {
        let mut powers = Powers {
            role: "master".to_owned(),
            version: 170_010,
            ..Powers::default()
        };
        let remedy = |outcome: Result<(), NotOffered>| outcome.unwrap_err().remedy;
        assert!(remedy(powers.subscribe()).contains("GRANT pg_create_subscription TO \"master\""));
        assert!(remedy(powers.publish()).contains("ALTER ROLE \"master\" REPLICATION"));
        assert!(remedy(powers.promote()).contains("GRANT EXECUTE ON FUNCTION pg_promote"));
        powers.version = 150_018;
        let early = powers.subscribe().unwrap_err();
        assert!(early.reason.contains("before PostgreSQL 16"), "{early:?}");
    }
}
