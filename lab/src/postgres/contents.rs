//! What a primary holds before its standby is copied from it.

/// The settings, rules, roles and tables of a pair.
#[derive(Clone, Debug, Hash)]
pub struct Contents {
    /// Lines for `postgresql.conf`, after the lab's own.
    pub settings: String,
    /// `pg_hba.conf`. It must let `postgres` in from `127.0.0.1`, for replication as well.
    pub hba: String,
    /// SQL that makes the roles.
    pub roles: String,
    /// SQL that runs in each application database.
    pub schema: String,
}

impl Default for Contents {
    /// Roles `app`, `repl` and `probe`, and the table `writes` that the workload needs.
    fn default() -> Self {
        Self {
            settings: String::new(),
            hba: HBA.to_owned(),
            roles: ROLES.to_owned(),
            schema: WRITES.to_owned(),
        }
    }
}

/// Sidecars reach the servers from loopback addresses other than `127.0.0.1` as well.
const HBA: &str = "\
local all all trust
host replication all 127.0.0.0/8 trust
host all all 127.0.0.0/8 trust
";

const ROLES: &str = "
CREATE ROLE app LOGIN;
CREATE ROLE probe LOGIN;
CREATE ROLE repl LOGIN REPLICATION IN ROLE pg_read_all_data;
";

/// No unique key over (client, number): a write that was applied twice must show. The
/// primary key is the replica identity that a lossless way back needs.
const WRITES: &str = "
CREATE TABLE writes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client int NOT NULL,
    number bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON writes (client, number);
ALTER TABLE writes OWNER TO app;
GRANT CREATE ON SCHEMA public TO app;
";
