use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::{
    cli::{client, global::Global, output},
    providers::{Grants, Management, RoleNames},
};

/// Print the SQL that gives a server's roles what migrations need, for psql
///
/// It makes three roles without superuser: one that drives migrations, one that writes the probe
/// table and nothing else, one that reads the reverse stream. It asks no server.
#[derive(Args, Debug)]
pub(in crate::cli) struct PrintGrants {
    /// The server's major version
    #[arg(long, value_name = "VERSION", default_value_t = NEWEST,
          value_parser = clap::value_parser!(u16).range(i64::from(OLDEST)..=i64::from(NEWEST)))]
    postgres: u16,
    /// The server is run by this service; without it a superuser runs the SQL
    #[arg(long, value_enum)]
    managed: Option<Managed>,
    /// A database that is moved, by its PostgreSQL name; may be given several times. Without it:
    /// every database that the control plane knows
    #[arg(long = "database", value_name = "DATNAME", value_parser = database_name)]
    databases: Vec<String>,
    /// The role of `control`
    #[arg(long, value_name = "ROLE", default_value = "pointsman", value_parser = role_name)]
    control_role: String,
    /// The role of `probe`
    #[arg(long, value_name = "ROLE", default_value = "pointsman_probe", value_parser = role_name)]
    probe_role: String,
    /// The role of `replication`
    #[arg(long, value_name = "ROLE", default_value = "pointsman_replication", value_parser = role_name)]
    replication_role: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Managed {
    /// Amazon RDS for PostgreSQL: the master user runs the SQL
    Rds,
}

impl PrintGrants {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let databases = if self.databases.is_empty() {
            known_databases(global).await?
        } else {
            self.databases
        };
        let grants = Grants {
            postgres: self.postgres,
            management: match self.managed {
                None => Management::SelfManaged,
                Some(Managed::Rds) => Management::Rds,
            },
            roles: RoleNames {
                control: self.control_role,
                probe: self.probe_role,
                replication: self.replication_role,
            },
            databases,
        };
        let sql = grants.sql();
        let value = serde_json::json!({ "sql": sql });
        output::print(global.output, &value, || sql.trim_end().to_owned())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The PostgreSQL names of all databases in the catalogue.
async fn known_databases(global: &Global) -> anyhow::Result<Vec<String>> {
    let found = client::databases(global, String::new()).await.context(
        "cannot ask the control plane for its databases; name them by --database DATNAME instead",
    )?;
    let mut datnames = Vec::new();
    for database in found.databases {
        datnames.push(database_name(&database.datname).map_err(anyhow::Error::msg)?);
    }
    datnames.sort_unstable();
    datnames.dedup();
    anyhow::ensure!(
        !datnames.is_empty(),
        "the control plane knows no database; name them by --database DATNAME, or declare them first \
         (pointsman database apply)"
    );
    Ok(datnames)
}

fn role_name(name: &str) -> Result<String, String> {
    if !(1..=NAME_BYTES).contains(&name.len()) {
        return Err(format!(
            "a name of {} bytes; allowed: 1 to {NAME_BYTES}",
            name.len()
        ));
    }
    if name.contains(char::is_control) {
        return Err("a control character; allowed: a name on one line".to_owned());
    }
    Ok(name.to_owned())
}

/// psql takes a name with an equals sign for a connection string.
fn database_name(name: &str) -> Result<String, String> {
    let name = role_name(name)?;
    if name.contains('=') {
        return Err(format!(
            "{name:?} has an equals sign; psql could not connect to it by name"
        ));
    }
    Ok(name)
}

const OLDEST: u16 = 14;
const NEWEST: u16 = 18;
/// PostgreSQL cuts longer identifiers (NAMEDATALEN - 1).
const NAME_BYTES: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_line_are_refused() {
        assert_eq!(role_name("o'brien \"x\""), Ok("o'brien \"x\"".to_owned()));
        for refused in ["", "a\nDROP ROLE b", &"x".repeat(64)] {
            assert!(role_name(refused).is_err(), "{refused:?}");
        }
        assert!(database_name("a=b").is_err());
    }
}
