mod preflight;
mod show;
mod status;
mod switch;
mod verify;

use std::{collections::HashMap, process::ExitCode};

use clap::{Args, Subcommand};
use pointsman_catalog::ServerName;
use pointsman_proto::v1::{
    self, AbandonRequest, CompleteRequest, CreateMigrationRequest, ListMigrationsRequest,
    MigrationRequest, ResolveRequest,
};

use super::{
    client,
    global::{Format, Global},
    output::{self, Table},
};

/// Move a server with all its databases to another
#[derive(Debug, Subcommand)]
pub(super) enum Migration {
    /// Plan a migration; touches no server
    Create(Create),
    /// Check everything that a switch rests on. Exit 0: all pass, 2: warnings, 3: blocked
    Preflight {
        /// The migration
        name: String,
        /// Print every object that this check looked at
        #[arg(long, value_name = "CHECK")]
        show: Option<String>,
    },
    /// Make on the source what a switch needs
    Start {
        /// The migration
        name: String,
    },
    /// Where it stands, and what going back costs now
    Status {
        /// The migration
        name: String,
        /// Follow it
        #[arg(long)]
        watch: bool,
    },
    /// Every migration
    List,
    /// Hold, fence, promote, flip. Returns when the target serves, or all is undone
    Switch {
        /// The migration
        name: String,
        /// Print every statement, publish and wait instead
        #[arg(long)]
        dry_run: bool,
    },
    /// Go back to the source. Returns when it serves again
    Rollback {
        /// The migration
        name: String,
        /// Go back although writes are lost; `status` says how many
        #[arg(long)]
        accept_loss: bool,
        /// Give up a rollback that waits for the reverse stream; the target serves on
        #[arg(long, conflicts_with_all = ["accept_loss", "dry_run"])]
        withdraw: bool,
        /// Print every statement, publish and wait instead
        #[arg(long)]
        dry_run: bool,
    },
    /// End the bake: no way back from here on; the source stays closed
    Complete {
        /// The migration
        name: String,
        /// Go on without the source should it not answer: you assert that it is down for good
        #[arg(long)]
        source_is_gone: bool,
        /// Give up what others did on the source in the bake; `status` says what was seen
        #[arg(long)]
        accept_loss: bool,
    },
    /// Give up a migration whose target does not serve
    Cancel {
        /// The migration
        name: String,
    },
    /// Check that the switch's machine allows what the journals say
    Verify {
        /// The migrations; all, if none is named
        names: Vec<String>,
    },
    /// End a migration whose servers are both down for good, or no longer used; touches neither
    Abandon {
        /// The migration
        name: String,
        /// A server that is given up as it is: the source and the target, each by name
        #[arg(long, value_name = "SERVER", required = true)]
        leave: Vec<ServerName>,
    },
    /// Decide what the engine could not
    Resolve {
        /// The migration
        name: String,
        /// One of the choices that `status` lists
        #[arg(long)]
        choice: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// Its name
    name: String,
    /// The server that serves now
    #[arg(long, value_name = "SERVER")]
    source: ServerName,
    /// Its physical standby, that shall serve
    #[arg(long, value_name = "SERVER")]
    target: ServerName,
    /// What becomes of a database on the server that the catalogue does not list: it moves, or
    /// stays-closed on both servers
    #[arg(long, value_name = "DATNAME=POLICY", value_parser = unlisted)]
    unlisted: Vec<(String, String)>,
    /// Accept what this check of the preflight blocks on, or one object of it
    #[arg(long, value_name = "CHECK[=OBJECT]")]
    waive: Vec<String>,
    /// In the bake, commits on the target wait until the source has them too, so that no acknowledged
    /// write is lost if the target dies
    #[arg(long)]
    durable_way_back: bool,
}

/// Reads `DATNAME=moves` or `DATNAME=stays-closed`. A database name may itself hold `=`.
fn unlisted(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((datname, policy @ ("moves" | "stays-closed"))) if !datname.is_empty() => {
            Ok((datname.to_owned(), policy.to_owned()))
        }
        _ => Err("write DATNAME=moves or DATNAME=stays-closed: moves or stays-closed is what becomes of it".to_owned()),
    }
}

impl Migration {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create(create) => return create.run(global).await,
            Self::Preflight { name, show } => {
                return preflight::run(global, name, show.as_deref()).await;
            }
            Self::Status { name, watch } => {
                if watch {
                    status::watch(global, name).await?;
                } else {
                    status::once(global, name).await?;
                }
            }
            Self::List => list(global).await?,
            Self::Verify { names } => return verify::run(global, names).await,
            Self::Switch { name, dry_run } => {
                return switch::run(global, switch::Asked::switch(name), dry_run).await;
            }
            Self::Rollback {
                name,
                withdraw: true,
                ..
            } => {
                let mut admin = client::connect(global).await?;
                let answer = admin.withdraw_rollback(MigrationRequest { name }).await;
                return ended(global, answer, &["baking"]);
            }
            Self::Rollback {
                name,
                accept_loss,
                withdraw: false,
                dry_run,
            } => {
                let asked = switch::Asked::rollback(name, accept_loss);
                return switch::run(global, asked, dry_run).await;
            }
            Self::Start { name } => return start(global, name).await,
            Self::Complete {
                name,
                source_is_gone,
                accept_loss,
            } => {
                let request = CompleteRequest {
                    name,
                    source_is_gone,
                    accept_loss,
                };
                return complete(global, request).await;
            }
            Self::Cancel { name } => {
                let mut admin = client::connect(global).await?;
                let answer = admin.cancel_migration(MigrationRequest { name }).await;
                return ended(global, answer, &["cancelled"]);
            }
            Self::Abandon { name, leave } => return abandon(global, name, &leave).await,
            Self::Resolve { name, choice } => {
                let mut admin = client::connect(global).await?;
                let answer = admin
                    .resolve_migration(ResolveRequest { name, choice })
                    .await;
                return ended(global, answer, &["baking", "undone", "rolled_back"]);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn start(global: &Global, name: String) -> anyhow::Result<ExitCode> {
    let mut admin = client::connect(global).await?;
    let answer = admin.start_migration(MigrationRequest { name }).await;
    ended(global, answer, &["prepared"])
}

async fn complete(global: &Global, request: CompleteRequest) -> anyhow::Result<ExitCode> {
    let mut admin = client::connect(global).await?;
    let answer = admin.complete_migration(request).await;
    ended(global, answer, &["completed"])
}

async fn abandon(global: &Global, name: String, leave: &[ServerName]) -> anyhow::Result<ExitCode> {
    let mut admin = client::connect(global).await?;
    let leave = leave.iter().map(ToString::to_string).collect();
    let answer = admin
        .abandon_migration(AbandonRequest { name, leave })
        .await;
    ended(global, answer, &["abandoned"])
}

impl Create {
    async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let answer = client::connect(global)
            .await?
            .create_migration(CreateMigrationRequest {
                name: self.name,
                source: self.source.to_string(),
                target: self.target.to_string(),
                unlisted: self.unlisted.into_iter().collect::<HashMap<_, _>>(),
                waived: self.waive,
                durable_way_back: self.durable_way_back,
            })
            .await;
        ended(global, answer, &["planned"])
    }
}

/// Prints where the migration stands now; a failure unless it is in one of the states in
/// which the verb has done its work.
fn ended(
    global: &Global,
    answer: Result<tonic::Response<v1::Migration>, tonic::Status>,
    wanted: &[&str],
) -> anyhow::Result<ExitCode> {
    let migration = answer
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &show::json(&migration)?, || {
        show::summary(&migration)
    })?;
    if wanted.contains(&migration.state.as_str()) {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(switch::failure(&migration))
    }
}

async fn list(global: &Global) -> anyhow::Result<()> {
    let found = client::connect(global)
        .await?
        .list_migrations(ListMigrationsRequest {})
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    match global.output {
        Format::Json => {
            let migrations = found
                .migrations
                .iter()
                .map(show::json)
                .collect::<Result<Vec<_>, _>>()?;
            let list = serde_json::json!({ "migrations": migrations });
            output::line(&serde_json::to_string_pretty(&list)?)
        }
        Format::Table => {
            let mut table = Table::new(["MIGRATION", "SOURCE", "TARGET", "STATE", "MESSAGE"]);
            for migration in found.migrations {
                table.row([
                    migration.name,
                    migration.source,
                    migration.target,
                    migration.state,
                    migration.headline,
                ]);
            }
            output::line(&table.to_string())
        }
    }
}
