mod description;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use pointsman_catalog::{Conninfo, Endpoint, FenceLevel, Server, ServerName};
use pointsman_cutover::{
    cut_off_standby,
    machine::PromotionDeadline,
    ports::{Armed, Clock, ControlId, ControlledServer, FenceRecord, Providers, SystemClock},
};

use super::{global::Format, output};
use crate::{
    providers::{self, SecretSources},
    server_status::{self, ServerStatus},
};
use description::describe;

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
    /// libpq string or URI of the server that the switch was going to: it must be a standby still, and is
    /// cut off from the fenced server before that is opened
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
            let standby = self.prove_standby(&providers, &server, record).await?;
            let fenced = attach_fenced(&providers, server, record).await?;
            if let Some(standby) = standby {
                did.push(cut_off(&providers, &fenced, &standby, record).await?);
            }
            let opened = un_fence(&fenced, record).await;
            did.extend(match did.first() {
                None => opened?,
                Some(done) => opened.with_context(|| done.clone())?,
            });
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
    /// to be a standby still. Returns that server, `None` where an operator vouches for it.
    async fn prove_standby(
        &self,
        providers: &Providers,
        fenced: &Server,
        record: &FenceRecord,
    ) -> anyhow::Result<Option<Server>> {
        if self.nobody_was_promoted {
            return Ok(None);
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
        let standby = server("standby", standby)?;
        let servers = [fenced.clone(), standby.clone()];
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
            ] => Ok(Some(standby)),
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

/// Control of the fenced server, after checking that it is the one that was closed.
async fn attach_fenced(
    providers: &Providers,
    server: Server,
    record: &FenceRecord,
) -> anyhow::Result<ControlledServer> {
    let server = Server {
        fence: if record.former.hba.is_some() {
            FenceLevel::SqlHba
        } else {
            FenceLevel::Sql
        },
        ..server
    };
    let fenced = providers
        .of(&server)?
        .attach(&server, &control(record))
        .await?;
    let seen = fenced.observe().await?;
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
    Ok(fenced)
}

/// Nobody knows any more whether the standby was asked to promote itself. Taking control of it ends
/// the sessions that may have asked; then it is shown to be a standby once more, and hears nothing
/// of the opening.
async fn cut_off(
    providers: &Providers,
    fenced: &ControlledServer,
    standby: &Server,
    record: &FenceRecord,
) -> anyhow::Result<String> {
    let standby = providers
        .of(standby)?
        .attach(standby, &control(record))
        .await
        .context("nothing was opened")?;
    let seen = standby.observe().await?;
    if !seen.in_recovery {
        bail!(
            "the other server was promoted just now, to timeline {}: nothing was opened",
            seen.timeline
        );
    }
    let deadline = PromotionDeadline::from_target_clock(seen.clock, record.promote_within);
    let patience = record.promote_within + CLOCK_MARGIN;
    let clock: &dyn Clock = &SystemClock::default();
    let slot = cut_off_standby(clock, fenced, &standby, Some(deadline), patience)
        .await
        .context(
            "nothing was opened: the other server may still be promoted, and would come up open; see \
             to it that it never is (stop it for good), and assert that by --nobody-was-promoted",
        )?;
    Ok(format!(
        "the standby was cut off: its slot {slot} was dropped; it follows again once the slot is made \
         anew, or has to be rebuilt"
    ))
}

/// Opens the server as the record says.
async fn un_fence(
    attached: &ControlledServer,
    record: &FenceRecord,
) -> anyhow::Result<Vec<String>> {
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

/// A clock may stand still for a moment when it is set.
const CLOCK_MARGIN: Duration = Duration::from_secs(2);
