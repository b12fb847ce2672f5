//! The SQL for a server's roles, as psql takes it.
//! <https://www.postgresql.org/docs/current/app-psql.html>

use super::{
    super::statements::{RECORDING, identifier, literal},
    ACT_FOR_OWNERS, CARRY_SEQUENCES, CHANGE_STANDBYS, CLOSE_DATABASE, END_SESSIONS, ENTER_DATABASE,
    HIDE_PASSWORD, MAKE_SLOTS, MAKE_TEMP_TABLE, PROMOTE, PUBLISH_TABLES, READ_WAL, RUN_BARRIER,
    Right, SEE_SESSIONS, STREAM_CHANGES, SUBSCRIBE, SUBSCRIBE_BEFORE_16, WRITE_PROBE,
};

/// What the roles of one server need.
#[derive(Clone, Debug)]
pub struct Grants {
    /// The server's major version, 14 to 18.
    pub postgres: u16,
    pub management: Management,
    pub roles: RoleNames,
    /// The PostgreSQL names of the databases that migrations move.
    pub databases: Vec<String>,
}

/// Who runs the server, which decides what its administrators may grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Management {
    /// A superuser runs the SQL.
    SelfManaged,
    /// The master user of Amazon RDS, a member of `rds_superuser`, runs it.
    Rds,
}

/// The names of the three roles.
#[derive(Clone, Debug)]
pub struct RoleNames {
    /// Drives migrations.
    pub control: String,
    /// Writes the probe table.
    pub probe: String,
    /// Reads the reverse stream.
    pub replication: String,
}

impl Grants {
    /// The script. It can be run again, and prints no password.
    pub fn sql(&self) -> String {
        let mut script = Script(String::new());
        self.check_version(&mut script);
        self.control_role(&mut script);
        self.closing(&mut script);
        self.maintenance_database(&mut script);
        self.replication_role(&mut script);
        self.probe_role(&mut script);
        for datname in &self.databases {
            self.database(&mut script, datname);
        }
        script.0
    }

    fn check_version(&self, script: &mut Script) {
        let who = match self.management {
            Management::SelfManaged => "a superuser",
            Management::Rds => "the master user",
        };
        let version = self.postgres;
        script.note(&format!(
            "Roles for pointsman on PostgreSQL {version}. Run it as {who} with psql, on the primary: a standby has its \
             primary's roles."
        ));
        script.note(
            "It can be run again. Lines that end in \\gexec run each statement that they return.",
        );
        script.meta("\\set ON_ERROR_STOP on");
        script.meta(&format!(
            "DO $$ BEGIN\n  IF current_setting('server_version_num')::int / 10000 <> {version} THEN\n    \
             RAISE EXCEPTION 'this SQL is for PostgreSQL {version}, and the server is %', \
             current_setting('server_version');\n  END IF;\nEND $$;"
        ));
    }

    fn control_role(&self, script: &mut Script) {
        let role = &self.roles.control;
        script.title("The control role, without superuser");
        script.note("It logs in, and inherits what it is a member of.");
        script.allow(RUN_BARRIER, "CREATEDB.");
        let attributes = match self.management {
            Management::SelfManaged => {
                script.allow(MAKE_SLOTS, "REPLICATION.");
                "LOGIN INHERIT CREATEDB REPLICATION"
            }
            Management::Rds => "LOGIN INHERIT CREATEDB",
        };
        self.make_role(script, role, attributes);
        match self.management {
            Management::SelfManaged => {
                script.allow(SEE_SESSIONS, "");
                self.grant(script, "pg_monitor", role);
                script.allow(END_SESSIONS, "");
                self.grant(script, "pg_signal_backend", role);
                if self.postgres >= 16 {
                    script.allow(SUBSCRIBE, "");
                    self.grant(script, "pg_create_subscription", role);
                }
            }
            Management::Rds => {
                for right in [SEE_SESSIONS, END_SESSIONS, SUBSCRIBE] {
                    script.allow(right, "");
                }
                self.grant(script, "rds_superuser", role);
                script.allow(MAKE_SLOTS, "");
                self.grant(script, "rds_replication", role);
            }
        }
        if self.postgres < 16 {
            script.note(&format!(
                "Only a superuser makes a subscription before 16: {}.",
                SUBSCRIBE_BEFORE_16.given_up
            ));
        }
    }

    /// A member of a superuser could become one, so databases of superusers change their
    /// owner instead.
    fn closing(&self, script: &mut Script) {
        let control = literal(&self.roles.control);
        script.title("Databases");
        script.allow(ENTER_DATABASE, "");
        script.meta(&format!(
            "SELECT format('GRANT CONNECT ON DATABASE %I TO %I', datname, {control}) FROM pg_database\n  \
             WHERE datallowconn AND pg_has_role(datdba, 'USAGE') AND NOT has_database_privilege({control}, datname, 'CONNECT') \
             ORDER BY 1 \\gexec"
        ));
        let of_superuser = match self.management {
            Management::SelfManaged => format!(
                "CASE WHEN o.rolsuper THEN format('ALTER DATABASE %I OWNER TO %I', d.datname, {control}) ELSE {} END",
                self.grant_text("o.rolname", &control)
            ),
            Management::Rds => self.grant_text("o.rolname", &control),
        };
        let left_out = match self.management {
            Management::SelfManaged => "",
            Management::Rds => " AND NOT o.rolsuper",
        };
        script.allow(
            CLOSE_DATABASE,
            "postgres and template1 are closed as well. A member of an owner may do what the owner may.",
        );
        script.meta(&format!(
            "SELECT DISTINCT {of_superuser}\n  FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba\n  \
             WHERE d.datallowconn{left_out} AND NOT pg_has_role({control}, d.datdba, 'USAGE') ORDER BY 1 \\gexec"
        ));
    }

    /// Functions are granted in the database in which the engine calls them.
    fn maintenance_database(&self, script: &mut Script) {
        if self.management == Management::Rds {
            return;
        }
        let control = &self.roles.control;
        script.title("Functions that the engine calls in database postgres");
        script.meta("\\connect postgres");
        script.allow(PROMOTE, "");
        script.meta(&format!(
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO {};",
            identifier(control)
        ));
        if self.postgres < 15 {
            return;
        }
        script.allow(CHANGE_STANDBYS, "");
        script.meta(&format!(
            "GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO {0};\n\
             GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO {0};",
            identifier(control)
        ));
        script.allow(READ_WAL, "");
        script.meta("CREATE EXTENSION IF NOT EXISTS pg_walinspect;");
        script.meta(&format!(
            "SELECT format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, {role}),\n    \
             format('GRANT EXECUTE ON FUNCTION %I.pg_get_wal_records_info(pg_lsn, pg_lsn) TO %I', n.nspname, {role})\n  \
             FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
             WHERE e.extname = 'pg_walinspect' \\gexec",
            role = literal(control)
        ));
    }

    fn replication_role(&self, script: &mut Script) {
        let role = &self.roles.replication;
        script
            .title("The replication role: the former primary reads the new one as it, in the bake");
        script.allow(
            STREAM_CHANGES,
            "It reads a slot, and needs no right to a table.",
        );
        match self.management {
            Management::SelfManaged => self.make_role(script, role, "LOGIN REPLICATION"),
            Management::Rds => {
                self.make_role(script, role, "LOGIN");
                self.grant(script, "rds_replication", role);
            }
        }
        for datname in &self.databases {
            script.meta(&format!(
                "GRANT CONNECT ON DATABASE {} TO {};",
                identifier(datname),
                identifier(role)
            ));
        }
    }

    fn probe_role(&self, script: &mut Script) {
        let role = &self.roles.probe;
        script.title("The probe role: it writes the probe table and nothing else");
        script.allow(
            WRITE_PROBE,
            "The control role grants it the table when it makes it, at the start of a migration.",
        );
        self.make_role(script, role, "LOGIN");
        for datname in &self.databases {
            script.meta(&format!(
                "GRANT CONNECT ON DATABASE {} TO {};",
                identifier(datname),
                identifier(role)
            ));
        }
    }

    fn database(&self, script: &mut Script, datname: &str) {
        let control = literal(&self.roles.control);
        script.title(&format!("Database {}", identifier(datname)));
        script.meta(&format!("\\connect {}", identifier(datname)));
        script.allow(PUBLISH_TABLES, "");
        script.allow(CARRY_SEQUENCES, "");
        if self.postgres >= 16 {
            script.allow(ACT_FOR_OWNERS, "");
        }
        script.meta(&format!(
            "SELECT DISTINCT {}\n  FROM {OWNED} JOIN pg_roles o ON o.oid = c.relowner\n  WHERE {CARRIED}\n  \
             AND NOT o.rolsuper AND NOT pg_has_role({control}, o.oid, 'USAGE') ORDER BY 1 \\gexec",
            self.grant_text("o.rolname", &control)
        ));
        script.note("What belongs to a superuser is not carried back. Listed here; to carry it, ALTER … OWNER TO another role.");
        script.meta(&format!(
            "SELECT c.oid::regclass AS not_carried_back, o.rolname AS owner\n  FROM {OWNED} \
             JOIN pg_roles o ON o.oid = c.relowner\n  WHERE {CARRIED} AND o.rolsuper ORDER BY 1;"
        ));
        if self.postgres >= 16 {
            script.allow(MAKE_TEMP_TABLE, "");
            script.meta(&format!(
                "SELECT format('GRANT TEMPORARY ON DATABASE %I TO %I', datname, {control}) FROM pg_database\n  \
                 WHERE datname = {} AND NOT has_database_privilege({control}, oid, 'TEMPORARY') \\gexec",
                literal(datname)
            ));
        }
        if self.postgres >= 16 && self.management == Management::SelfManaged {
            script.allow(
                HIDE_PASSWORD,
                "The last one is for the log, where somebody else ends that session.",
            );
            script.meta(&format!(
                "SELECT format('GRANT SET ON PARAMETER %s TO %I', setting, {control})\n  \
                 FROM ({RECORDING} UNION ALL VALUES ('log_error_verbosity')) AS recording \\gexec"
            ));
        }
        script.allow(
            WRITE_PROBE,
            "Where a migration has begun, the table is there already.",
        );
        let probe = literal(&self.roles.probe);
        script.meta(&format!(
            "SELECT format('GRANT USAGE ON SCHEMA pointsman TO %I', {probe}),\n    \
             format('GRANT SELECT, INSERT, UPDATE ON pointsman.probe TO %I', {probe})\n  \
             WHERE to_regclass('pointsman.probe') IS NOT NULL \\gexec"
        ));
    }

    /// Makes `role`, or gives it what it lacks of `attributes`.
    fn make_role(&self, script: &mut Script, role: &str, attributes: &str) {
        let name = literal(role);
        let lacking: Vec<_> = attributes
            .split(' ')
            .map(|attribute| match attribute {
                "LOGIN" => "rolcanlogin",
                "INHERIT" => "rolinherit",
                "CREATEDB" => "rolcreatedb",
                _ => "rolreplication",
            })
            .collect();
        script.meta(&format!(
            "SELECT format('CREATE ROLE %I {attributes}', {name})\n  \
             WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) \\gexec"
        ));
        script.meta(&format!(
            "SELECT format('ALTER ROLE %I {attributes}', {name}) FROM pg_roles\n  \
             WHERE rolname = {name} AND NOT ({}) \\gexec",
            lacking.join(" AND ")
        ));
        script.note(&format!(
            "A password, asked for and not shown: \\password {}",
            identifier(role)
        ));
    }

    /// Makes `member` a member of `role`. A master user may be one already, and may not grant
    /// everything to itself.
    fn grant(&self, script: &mut Script, role: &str, member: &str) {
        if self.management == Management::SelfManaged {
            let to = identifier(member);
            script.meta(&format!("GRANT {role} TO {to}{};", self.grant_options()));
            return;
        }
        script.meta(&format!(
            "SELECT {}\n  WHERE NOT pg_has_role({}, {}, 'USAGE') \\gexec",
            self.grant_text(&literal(role), &literal(member)),
            literal(member),
            literal(role)
        ));
    }

    /// An expression for the GRANT of the role `role` to `member`, two expressions as well.
    fn grant_text(&self, role: &str, member: &str) -> String {
        let options = self.grant_options();
        format!("format('GRANT %I TO %I{options}', {role}, {member})")
    }

    /// From 16 on a grant says whether it is inherited.
    fn grant_options(&self) -> &'static str {
        if self.postgres >= 16 {
            " WITH INHERIT TRUE, SET TRUE"
        } else {
            ""
        }
    }
}

/// A text for psql.
struct Script(String);

impl Script {
    fn title(&mut self, title: &str) {
        self.0.push_str(&format!("\n-- ==== {title}\n"));
    }

    fn note(&mut self, note: &str) {
        self.0.push_str(&format!("-- {note}\n"));
    }

    /// What the next line is for.
    fn allow(&mut self, right: Right, more: &str) {
        let Right {
            action,
            needed_by,
            given_up,
            ..
        } = right;
        let note = format!("To {action}: {needed_by}. Without it: {given_up}. {more}");
        self.note(note.replace('`', "").trim_end());
    }

    /// A line as it stands.
    fn meta(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }
}

/// Relations of the current database that hold rows or numbers.
const OWNED: &str = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace";
const CARRIED: &str = "c.relkind IN ('r', 'S') AND c.relpersistence = 'p'\n  \
     AND n.nspname !~ '^(pg_|information_schema$|pointsman$)'";
