//! The operator's own flip: for a writer that was moved by other means.

use std::{sync::Arc, time::Duration};

use pointsman_catalog::{
    Catalog, CatalogError, Database, DatabaseName, Route, RouteChange, Server, ServerName,
};
use pointsman_cutover::{
    Engine, EngineError,
    ports::{Barrier, Convergence, DataPlane as _, DataPlaneError, Publication},
};
use tokio::time::timeout;

use crate::{control, fleet::Publisher};

/// What a flip needs to know and do.
#[derive(Debug)]
pub(crate) struct Flip {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) engine: Arc<Engine>,
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
        "server {server} is part of migration {migration}, which is {state}: finish or cancel that \
         one; it moves the route itself"
    )]
    Migrating {
        server: ServerName,
        migration: String,
        state: &'static str,
    },
    #[error(
        "{database} was not flipped to {to}: {to} is not proven to be writable ({words}); promote \
         it first, or flip with --force"
    )]
    TargetNotWritable {
        database: DatabaseName,
        to: ServerName,
        words: String,
    },
    #[error(
        "{database} was not flipped to {to}: {old}, which serves now, is not proven to refuse \
         writes ({words}), so there might be two writers; close it first, or flip with --force"
    )]
    OldWriterNotClosed {
        database: DatabaseName,
        to: ServerName,
        old: ServerName,
        words: String,
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
        self.refuse_while_migrating(&former, to, force)?;
        if !force {
            self.prove(&declared, &target, &former).await?;
        }
        let change = RouteChange {
            writer: Some(Route::Serve {
                servers: vec![to.clone()],
                draining: former,
            }),
            reader: None,
        };
        let publication = self
            .publisher
            .publish(&[(database.clone(), change)].into())
            .await?;
        let convergence = self
            .publisher
            .converge(&publication, Barrier::AllRegistered, self.barrier_deadline)
            .await;
        Ok((publication, convergence))
    }

    /// A migration that stands still does not bar a forced flip: when one of its servers is
    /// gone, the fleet must be movable all the same.
    fn refuse_while_migrating(
        &self,
        former: &[ServerName],
        to: &ServerName,
        force: bool,
    ) -> Result<(), FlipError> {
        for status in self.engine.list() {
            let migration = &status.migration;
            if migration.state().is_over() || (force && !migration.state().is_moving()) {
                continue;
            }
            let taken = former
                .iter()
                .chain([to])
                .find(|&server| *server == migration.source || *server == migration.target);
            if let Some(server) = taken {
                return Err(FlipError::Migrating {
                    server: server.clone(),
                    migration: migration.name.clone(),
                    state: migration.state().label(),
                });
            }
        }
        Ok(())
    }

    /// The new writer takes a write, and no former one does.
    async fn prove(
        &self,
        declared: &Database,
        target: &Server,
        former: &[ServerName],
    ) -> Result<(), FlipError> {
        // The old ones first: what they refuse now they may not refuse later, and the
        // newest evidence should be about the server that is going to serve.
        for name in former {
            let old = self.catalog.server(name).await?;
            let answer = try_write(&old, &declared.datname, OVERRIDE_READ_ONLY).await;
            let words = match answer {
                Answer::CannotWrite(_) => continue,
                Answer::Wrote => "it took a write just now".to_owned(),
                Answer::Unknown(words) => words,
            };
            return Err(FlipError::OldWriterNotClosed {
                database: declared.name.clone(),
                to: target.name.clone(),
                old: name.clone(),
                words,
            });
        }
        match try_write(target, &declared.datname, "").await {
            Answer::Wrote => Ok(()),
            Answer::CannotWrite(words) | Answer::Unknown(words) => {
                Err(FlipError::TargetNotWritable {
                    database: declared.name.clone(),
                    to: target.name.clone(),
                    words,
                })
            }
        }
    }
}

/// The servers that a route names, in service or draining or held from.
fn known(route: &Route) -> Vec<ServerName> {
    match route {
        Route::Serve { servers, draining } => servers.iter().chain(draining).cloned().collect(),
        Route::Hold { from, .. } => from.clone(),
        Route::Refuse => Vec::new(),
    }
}

/// How a server answered a write that was rolled back.
#[derive(Debug)]
enum Answer {
    Wrote,
    /// It answered, and no session can write there.
    CannotWrite(String),
    /// It did not answer, or refused for another reason than being closed to writes.
    Unknown(String),
}

/// A write that needs a transaction id and leaves nothing behind.
async fn try_write(server: &Server, datname: &str, options: &str) -> Answer {
    let mut config = match control::direct(server, datname) {
        Ok(config) => config,
        Err(error) => return Answer::Unknown(format!("{error:#}")),
    };
    if !options.is_empty() {
        config.options(options);
    }
    let write = control::run(&config, async |client| client.batch_execute(WRITE).await);
    match timeout(DEADLINE, write).await {
        Err(_elapsed) => Answer::Unknown(format!("no answer within {DEADLINE:?}")),
        Ok(Ok(())) => Answer::Wrote,
        Ok(Err(error)) => judge(&error),
    }
}

fn judge(error: &anyhow::Error) -> Answer {
    let words = control::words(error);
    let code = error
        .downcast_ref::<tokio_postgres::Error>()
        .and_then(tokio_postgres::Error::code)
        .map(tokio_postgres::error::SqlState::code);
    match code {
        Some(READ_ONLY | NOT_ACCEPTING | NO_SUCH_DATABASE) => Answer::CannotWrite(words),
        _ => Answer::Unknown(words),
    }
}

const WRITE: &str = "BEGIN; CREATE SCHEMA pointsman_flip_probe; ROLLBACK";
/// A server that is read-only by setting lets every session override it.
const OVERRIDE_READ_ONLY: &str = "-c default_transaction_read_only=off";
/// `read_only_sql_transaction`: the server is in recovery.
const READ_ONLY: &str = "25006";
/// `object_not_in_prerequisite_state`: `datallowconn` is false.
const NOT_ACCEPTING: &str = "55000";
/// `invalid_catalog_name`.
const NO_SUCH_DATABASE: &str = "3D000";
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

    #[test]
    fn a_server_that_is_silent_is_not_proven_closed() {
        let answer = judge(&anyhow::anyhow!("connection refused"));
        assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
    }
}
