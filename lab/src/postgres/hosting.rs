//! Who runs a server, and so which roles its users have.

use std::env;

use anyhow::{Result, bail};

use super::verifier::VERIFIER;

/// Who runs the servers of a pair.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Hosting {
    /// Their users. The control role is the superuser `postgres`; no role has a password.
    #[default]
    SelfManaged,
    /// A cloud, like Amazon RDS as far as stock PostgreSQL can say it.
    ///
    /// The superuser is `rdsadmin`. It has a database of its own, and a session there that
    /// writes every second. The control role is `master`: no superuser, a member of
    /// `rds_superuser` and of the tables' owner `app`, owner of every database but `rdsadmin`
    /// and `template0`. Roles log in with a password, WAL segments have 64 MB, and no user
    /// can reach files or `pg_hba.conf`.
    Managed,
}

impl Hosting {
    /// What `POINTSMAN_LAB_HOSTING` says: `self-managed`, which is the default, or `managed`.
    /// For suites that run on both.
    pub fn from_environment() -> Result<Self> {
        match env::var("POINTSMAN_LAB_HOSTING").as_deref() {
            Err(env::VarError::NotPresent) | Ok("self-managed") => Ok(Self::SelfManaged),
            Ok("managed") => Ok(Self::Managed),
            other => {
                bail!("POINTSMAN_LAB_HOSTING is {other:?}; allowed: self-managed, managed")
            }
        }
    }

    /// Whose sessions the lab itself opens.
    #[must_use]
    pub fn superuser(self) -> &'static str {
        match self {
            Self::SelfManaged => "postgres",
            Self::Managed => "rdsadmin",
        }
    }

    /// Whose sessions Pointsman is given.
    #[must_use]
    pub fn control_role(self) -> &'static str {
        match self {
            Self::SelfManaged => "postgres",
            Self::Managed => "master",
        }
    }

    /// As whom a standby receives WAL.
    pub(super) fn standby_role(self) -> &'static str {
        match self {
            Self::SelfManaged => "postgres",
            Self::Managed => "rdsrepladmin",
        }
    }

    /// The password of `role`, where roles have one.
    #[must_use]
    pub fn password(self, role: &str) -> Option<String> {
        match self {
            Self::SelfManaged => None,
            Self::Managed => Some(format!("lab-password-of-{role}")),
        }
    }

    /// Arguments of `initdb`.
    pub(super) fn initdb_args(self) -> &'static [&'static str] {
        match self {
            Self::SelfManaged => &["-U", "postgres"],
            Self::Managed => &["-U", "rdsadmin", "--wal-segsize=64"],
        }
    }

    /// Lines for `postgresql.conf`.
    pub(super) fn settings(self) -> &'static str {
        match self {
            Self::SelfManaged => "",
            // Two segments are the least that PostgreSQL accepts.
            Self::Managed => "min_wal_size = 128MB\n",
        }
    }

    /// SQL that makes the cloud's roles, the control role and the superuser's own database;
    /// each part is a transaction.
    pub(super) fn roles(self) -> &'static [&'static str] {
        match self {
            Self::SelfManaged => &[],
            Self::Managed => &[
                VERIFIER,
                MANAGED_ROLES,
                "CREATE DATABASE rdsadmin",
                "REVOKE ALL ON DATABASE rdsadmin FROM PUBLIC",
            ],
        }
    }

    /// What follows `CREATE DATABASE name`.
    pub(super) fn database_options(self) -> &'static str {
        match self {
            Self::SelfManaged => "",
            Self::Managed => "OWNER master",
        }
    }
}

/// Runs after [`VERIFIER`] and the SQL that makes an application's roles; `app` is the owner of
/// its tables.
const MANAGED_ROLES: &str = r"
CREATE ROLE rds_superuser;
CREATE ROLE rds_replication;
CREATE ROLE rds_iam;
GRANT rds_replication TO rds_superuser WITH ADMIN OPTION;
CREATE ROLE rdsrepladmin LOGIN REPLICATION;
CREATE ROLE master LOGIN CREATEROLE CREATEDB REPLICATION IN ROLE rds_superuser;
DO $$
DECLARE
    found name;
    major int := current_setting('server_version_num')::int / 10000;
BEGIN
    FOR found IN SELECT rolname FROM pg_roles WHERE rolname IN
        ('pg_monitor', 'pg_signal_backend', 'pg_checkpoint', 'pg_create_subscription')
    LOOP
        EXECUTE format('GRANT %I TO rds_superuser WITH ADMIN OPTION', found);
    END LOOP;
    FOR found IN SELECT rolname FROM pg_roles WHERE rolname <> 'master' AND NOT rolsuper
        AND rolname !~ '^(pg_|rds)'
    LOOP
        -- Who makes a role is its admin, from 16 on without being its member.
        IF found = 'app' THEN
            GRANT app TO master WITH ADMIN OPTION;
        ELSIF major >= 16 THEN
            EXECUTE format('GRANT %I TO master WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', found);
        END IF;
    END LOOP;
    FOR found IN SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname <> 'rdsadmin'
    LOOP
        EXECUTE format('ALTER ROLE %I PASSWORD %L', found,
            pg_temp.verifier('lab-password-of-' || found, 64));
    END LOOP;
END $$;
ALTER DATABASE postgres OWNER TO master;
ALTER DATABASE template1 OWNER TO master;
";
