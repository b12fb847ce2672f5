//! The verb `flip`: sends a database's writers to a server that was promoted by other means.

mod readers;

use std::{sync::Arc, time::Duration};

use pointsman_catalog::{
    Catalog, CatalogError, Database, DatabaseName, Route, RouteChange, Server, ServerName,
};
use pointsman_cutover::{
    Engine, EngineError,
    machine::State,
    ports::{
        BarrierPolicy, Clock, Convergence, DataPlane, DataPlaneError, Providers, Publication,
        ReadOnlyDefault, WriteAttempt,
    },
};

/// What a flip needs to know and do.
#[derive(Debug)]
pub(crate) struct Flip {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) data_plane: Arc<dyn DataPlane>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) providers: Providers,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long the fleet may take to acknowledge.
    pub(crate) barrier_deadline: Duration,
}

/// Why nothing was flipped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlipError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    DataPlane(#[from] DataPlaneError),
    #[error(
        "server {server} is part of migration {migration}, which is {} and moves routes itself: {}",
        .state.label(),
        .state.way_to_end()
    )]
    Migrating {
        server: ServerName,
        migration: String,
        state: State,
    },
    #[error(
        "no writer is flipped by hand while the record of migration {migration} cannot be read: nobody \
         knows which servers it has ({cause}); mend that, or flip with --force"
    )]
    MigrationUnreadable { migration: String, cause: String },
    #[error(
        "readers of {database} were not sent to {to}: it is not proven to be a standby of the writer \
         ({reason}); build it as one, or flip with --force"
    )]
    ReaderNotProven {
        database: DatabaseName,
        to: ServerName,
        reason: String,
    },
    #[error(
        "{database} was not flipped to {to}: {to} is not proven to be writable ({reason}); promote \
         it first, or flip with --force"
    )]
    TargetNotWritable {
        database: DatabaseName,
        to: ServerName,
        reason: String,
    },
    #[error(
        "{database} was not flipped to {to}: {old}, which serves now, is not proven to refuse \
         writes ({reason}), so there might be two writers; close it first, or flip with --force"
    )]
    OldWriterNotClosed {
        database: DatabaseName,
        to: ServerName,
        old: ServerName,
        reason: String,
    },
}

impl Flip {
    /// Sends the writers of `database` to `to` and waits for the fleet.
    ///
    /// # Errors
    /// Nothing was changed, see [`FlipError`].
    pub(crate) async fn run(
        &self,
        database: &DatabaseName,
        to: &ServerName,
        force: bool,
    ) -> Result<(Publication, Convergence), FlipError> {
        let declared = self.catalog.database(database).await?;
        let target = self.catalog.server(to).await?;
        let former = self
            .catalog
            .routes()
            .await?
            .remove(database)
            .map_or_else(Vec::new, |routes| known(&routes.writer))
            .into_iter()
            .filter(|server| server != to)
            .collect::<Vec<_>>();
        self.refuse_while_migrating(former.iter().chain([to]), force)?;
        if force {
            self.park(database, to, &former).await?;
        } else {
            self.prove(&declared, &target, &former).await?;
        }
        let change = RouteChange {
            writer: Some(served_by(std::slice::from_ref(to), former)),
            reader: None,
        };
        let publication = self
            .data_plane
            .publish(&[(database.clone(), change)].into())
            .await?;
        let convergence = self
            .data_plane
            .converge(
                &publication,
                BarrierPolicy::AllRegistered,
                self.barrier_deadline,
            )
            .await;
        Ok((publication, convergence))
    }

    /// Refuses servers of a migration. A forced flip is refused only while the migration is in a
    /// switch: when one of its servers is gone, the fleet must be movable all the same.
    fn refuse_while_migrating<'a>(
        &self,
        servers: impl Iterator<Item = &'a ServerName> + Clone,
        force: bool,
    ) -> Result<(), FlipError> {
        let unreadable = self.engine.unreadable_migrations().into_iter().next();
        if let Some((migration, cause)) = unreadable.filter(|_| !force) {
            return Err(FlipError::MigrationUnreadable { migration, cause });
        }
        for status in self.engine.list() {
            let migration = &status.migration;
            if migration.state().is_over() || (force && !migration.state().is_moving()) {
                continue;
            }
            let taken = servers
                .clone()
                .find(|&server| *server == migration.source || *server == migration.target);
            if let Some(server) = taken {
                return Err(FlipError::Migrating {
                    server: server.clone(),
                    migration: migration.name.clone(),
                    state: migration.state(),
                });
            }
        }
        Ok(())
    }

    /// Parks the migrations of these servers: what they would do next goes by routes that somebody
    /// moves by hand now.
    async fn park(
        &self,
        database: &DatabaseName,
        to: &ServerName,
        former: &[ServerName],
    ) -> Result<(), FlipError> {
        for status in self.engine.list() {
            let migration = &status.migration;
            let expected = match migration.state() {
                State::Baking { .. } => &migration.target,
                State::Prepared | State::Undone => &migration.source,
                State::Planned
                | State::SettingUp
                | State::Switching { .. }
                | State::Promoting { .. }
                | State::Undoing { .. }
                | State::RolledBack
                | State::Completing
                | State::Completed
                | State::Cancelling
                | State::Cancelled
                | State::Abandoned
                | State::NeedsOperator { .. } => continue,
            };
            let mut named = former.iter().chain([to]);
            let taken = named.any(|name| *name == migration.source || *name == migration.target);
            if taken && to != expected {
                let reason = format!("a forced flip sent the writers of {database} to {to}");
                self.engine.park(&migration.name, reason).await?;
            }
        }
        Ok(())
    }

    /// Proves that the new writer takes a write, and that no former one does.
    async fn prove(
        &self,
        declared: &Database,
        target: &Server,
        former: &[ServerName],
    ) -> Result<(), FlipError> {
        // The old ones first, so that the newest evidence is about the server that will serve.
        for name in former {
            let old = self.catalog.server(name).await?;
            // A server that is read-only by setting lets every session override it.
            let attempt = self
                .try_write(&old, &declared.datname, ReadOnlyDefault::Overridden)
                .await;
            let reason = match attempt {
                WriteAttempt::CannotWrite { .. } => continue,
                WriteAttempt::Wrote => "it took a write just now".to_owned(),
                WriteAttempt::Unknown { reason } => reason,
            };
            return Err(FlipError::OldWriterNotClosed {
                database: declared.name.clone(),
                to: target.name.clone(),
                old: name.clone(),
                reason,
            });
        }
        let attempt = self
            .try_write(target, &declared.datname, ReadOnlyDefault::Respected)
            .await;
        match attempt {
            WriteAttempt::Wrote => Ok(()),
            WriteAttempt::CannotWrite { reason } | WriteAttempt::Unknown { reason } => {
                Err(FlipError::TargetNotWritable {
                    database: declared.name.clone(),
                    to: target.name.clone(),
                    reason,
                })
            }
        }
    }

    async fn try_write(
        &self,
        server: &Server,
        datname: &str,
        default: ReadOnlyDefault,
    ) -> WriteAttempt {
        let provider = match self.providers.of(server) {
            Ok(provider) => provider,
            Err(error) => {
                return WriteAttempt::Unknown {
                    reason: error.to_string(),
                };
            }
        };
        let write = provider.probes().try_write(server, datname, default);
        self.clock
            .timeout(DEADLINE, write)
            .await
            .unwrap_or_else(|_elapsed| WriteAttempt::Unknown {
                reason: format!("no answer within {DEADLINE:?}"),
            })
    }
}

/// Every server that a route names.
fn known(route: &Route) -> Vec<ServerName> {
    match route {
        Route::Serve { servers, draining } => servers.iter().chain(draining).cloned().collect(),
        Route::Hold { from, .. } => from.clone(),
        Route::Refuse => Vec::new(),
    }
}

/// The route to `servers`; of those that it leaves, open connections stay visible.
fn served_by(servers: &[ServerName], mut former: Vec<ServerName>) -> Route {
    former.retain(|server| !servers.contains(server));
    Route::Serve {
        servers: servers.to_vec(),
        draining: former,
    }
}

/// A person waits for the answer.
const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_route_still_knows_who_served() {
        let blue = ServerName::new("blue").unwrap();
        let green = ServerName::new("green").unwrap();
        let route = Route::Serve {
            servers: vec![green.clone()],
            draining: vec![blue.clone()],
        };
        assert_eq!(known(&route), [green, blue]);
    }
}
