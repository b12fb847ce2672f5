use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use pointsman_catalog::{Conninfo, Endpoint, FenceLevel, Server, ServerName};
use pointsman_cutover::ports::{Armed, ControlId, FenceRecord, FormerSettings, Providers};

use super::{global::Format, output};
use crate::{
    providers::{self, SecretSources},
    server_status::{self, ServerStatus},
};

/// Read, and lift, the fence that a switch left in a server, without the store
///
/// For when the store is lost. With a store, start the control plane instead: it carries on
/// where it was.
#[derive(Args, Debug)]
pub(super) struct Recover {
    /// libpq string or URI of the control role of the fenced server; its password by passfile=FILE
    #[arg(long, value_name = "CONNINFO")]
    control: String,
    /// Open the server again as it was before the fence
    #[arg(long)]
    un_fence: bool,
    /// libpq string or URI of the server that the switch was going to; proves that nobody promoted it
    #[arg(long, value_name = "CONNINFO", requires = "un_fence")]
    standby: Option<String>,
    /// Open it although the other server cannot be asked: you assert that it is down for good,
    /// or was never promoted. If that is wrong, both accept writes
    #[arg(long, requires = "un_fence", conflicts_with = "standby")]
    nobody_was_promoted: bool,
}

impl Recover {
    pub(super) async fn run(self, format: Format) -> anyhow::Result<ExitCode> {
        // The caller reads with their own rights, and not with those of a control plane.
        let providers = providers::all(SecretSources::unrestricted(), providers::no_more)?;
        let server = server("fenced", &self.control)?;
        let record = providers.of(&server)?.fence_record(&server).await?;
        if format == Format::Table {
            output::line(&describe(record.as_ref()))?;
        }
        let mut did = Vec::new();
        if self.un_fence {
            let Some(record) = &record else {
                bail!("there is nothing to lift: the server holds no fence record");
            };
            self.prove_standby(&providers, &server, record).await?;
            did = un_fence(&providers, server, record).await?;
        }
        match format {
            Format::Table => did.iter().try_for_each(|line| output::line(line))?,
            Format::Json => {
                let outcome = serde_json::json!({ "record": record, "did": did });
                output::line(&serde_json::to_string_pretty(&outcome)?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Two writers are worse than none: the server that the switch was going to must be shown
    /// to be a standby still.
    async fn prove_standby(
        &self,
        providers: &Providers,
        fenced: &Server,
        record: &FenceRecord,
    ) -> anyhow::Result<()> {
        if self.nobody_was_promoted {
            return Ok(());
        }
        let Some(standby) = &self.standby else {
            bail!(
                "server {} was fenced by migration {}; before it is opened, show that the other \
                 server was not promoted: --standby CONNINFO, or assert it by \
                 --nobody-was-promoted",
                record.server,
                record.migration
            );
        };
        if record.promoted_by_api {
            bail!(
                "the switch promotes the other server by an API, and such a request cannot be called back: \
                 a standby now may be a primary in a minute. See to it that it is never promoted (delete \
                 it, or cut it off for good), and assert that by --nobody-was-promoted"
            );
        }
        let servers = [fenced.clone(), server("standby", standby)?];
        let seen = server_status::of_all(providers, &servers).await;
        match seen.as_slice() {
            [
                ServerStatus::Answers {
                    system_identifier: fenced,
                    ..
                },
                ServerStatus::Answers {
                    system_identifier: standby,
                    ..
                },
            ] if fenced != standby => bail!(
                "the server of --standby is no copy of {}: their system identifiers are {standby} \
                 and {fenced}",
                record.server
            ),
            [
                _,
                ServerStatus::Answers {
                    in_recovery: true, ..
                },
            ] => Ok(()),
            [_, ServerStatus::Answers { timeline, .. }] => bail!(
                "the other server is a primary, too, on timeline {timeline}: it may have taken writes \
                 that {} does not have. Send applications there, or keep it closed and compare \
                 both before anything is opened",
                record.server
            ),
            _ => bail!(
                "the other server does not answer, so it is not shown to be a standby: {}",
                seen.last().map(ServerStatus::role).unwrap_or_default()
            ),
        }
    }
}

/// Opens the server as the record says, after checking that it is the one that was closed.
async fn un_fence(
    providers: &Providers,
    server: Server,
    record: &FenceRecord,
) -> anyhow::Result<Vec<String>> {
    let server = Server {
        fence: if record.former.hba.is_some() {
            FenceLevel::SqlHba
        } else {
            FenceLevel::Sql
        },
        ..server
    };
    let attached = providers
        .of(&server)?
        .attach(&server, &control(record))
        .await?;
    let seen = attached.observe().await?;
    if seen.in_recovery {
        bail!(
            "this server is a standby: the record is a copy of that of {}; lift the fence there",
            record.server
        );
    }
    if seen.timeline != record.timeline {
        bail!(
            "this server is on timeline {} and the record is of timeline {}: the record came from \
             {} before this server was promoted, so it is not the one that was closed",
            seen.timeline,
            record.timeline,
            record.server
        );
    }
    // The file first: a database that is open behind a refusing pg_hba.conf would look
    // recovered and is not.
    attached
        .fence()?
        .restore_access_rules(&record.former)
        .await
        .context("nothing was opened")?;
    // Its record of roles that lost LOGIN goes with the fence's.
    if let Ok(subscriber) = attached.reverse_subscriber() {
        subscriber
            .restore_logins(&Armed::default())
            .await
            .context("pg_hba.conf is as before, the databases are still closed")?;
    }
    attached
        .fence()?
        .reopen(&record.former, &[])
        .await
        .context("pg_hba.conf is as before, the databases are still closed")?;
    let opened: Vec<_> = record
        .former
        .databases
        .iter()
        .filter(|database| database.allow_connections)
        .map(|database| database.datname.as_str())
        .filter(|datname| {
            !record
                .former
                .not_closable
                .iter()
                .any(|open| open == datname)
        })
        .collect();
    let mut did = Vec::new();
    if record.former.hba.is_some() {
        did.push("pg_hba.conf was put back and reloaded".to_owned());
    }
    did.push(format!("opened: {}", opened.join(", ")));
    did.push("the fence record was deleted".to_owned());
    Ok(did)
}

fn describe(record: Option<&FenceRecord>) -> String {
    let Some(record) = record else {
        return "no fence: no switch left this server closed".to_owned();
    };
    let databases: Vec<_> = record
        .former
        .databases
        .iter()
        .map(|database| {
            format!(
                "  {:<20} connections {}, limit {}",
                database.datname,
                if database.allow_connections {
                    "allowed"
                } else {
                    "not allowed"
                },
                database.connection_limit
            )
        })
        .collect();
    format!(
        "fenced by migration {} at epoch {}\nserver      {}\ntimeline    {}\npg_hba.conf {}\n\
         before the fence:\n{}",
        record.migration,
        record.epoch,
        record.server,
        record.timeline,
        if record.former.hba.is_some() {
            "replaced; the former text is in the record"
        } else {
            "untouched"
        },
        databases.join("\n")
    ) + &describe_access_lists(&record.former)
}

fn describe_access_lists(former: &FormerSettings) -> String {
    if former.acls.is_empty() {
        return String::new();
    }
    format!(
        "\nCONNECT may be taken from everybody but the control role in {}; the former access \
         lists are in the record\nnot closed, for want of ownership: {}",
        former.acls.keys().cloned().collect::<Vec<_>>().join(", "),
        if former.not_closable.is_empty() {
            "none".to_owned()
        } else {
            former.not_closable.join(", ")
        }
    )
}

fn control(record: &FenceRecord) -> ControlId {
    ControlId {
        migration: record.migration.clone(),
        epoch: record.epoch,
    }
}

/// A server that no catalogue names.
fn server(name: &str, conninfo: &str) -> anyhow::Result<Server> {
    let flag = if name == "standby" {
        "--standby"
    } else {
        "--control"
    };
    let info = Conninfo::parse(conninfo).map_err(|reason| anyhow!("{flag}: {reason}"))?;
    if info.get("password").is_some() {
        bail!(
            "{flag}: password= on a command line can be read by every user of this machine; \
             allowed: passfile=FILE, in the format of libpq's password file"
        );
    }
    let endpoint: Endpoint = "localhost:5432".parse()?;
    Ok(Server {
        name: ServerName::new(name)?,
        endpoint,
        control: conninfo.to_owned(),
        control_password: None,
        replication: None,
        replication_password: None,
        probe: None,
        probe_password: None,
        fence: FenceLevel::Sql,
    })
}

#[cfg(test)]
mod tests {
    use pointsman_cutover::ports::DatabaseSettings;

    use super::*;

    #[test]
    fn a_record_reads_as_what_was_closed_and_how_it_was() {
        let record = FenceRecord {
            migration: "to-green".to_owned(),
            epoch: 3,
            server: ServerName::new("blue").unwrap(),
            timeline: 1,
            promoted_by_api: false,
            former: FormerSettings {
                databases: vec![DatabaseSettings {
                    datname: "orders".to_owned(),
                    oid: 16_384,
                    allow_connections: true,
                    connection_limit: -1,
                    is_template: false,
                }],
                hba: Some("local all all trust\n".to_owned()),
                ..FormerSettings::default()
            },
        };
        insta::assert_snapshot!(describe(Some(&record)));
    }
}
