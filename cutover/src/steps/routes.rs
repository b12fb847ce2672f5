//! The routes that steps publish.

mod route;

use std::collections::BTreeMap;

use pointsman_catalog::{DatabaseName, Role, Route, RouteChange, Routes, ServerName, UnixMillis};

pub(super) use self::route::serve;
use self::route::{drained, held_for};
use super::Failure;
use crate::{
    Ports, Settings,
    checks::count,
    machine::Direction,
    migration::Migration,
    ports::{BarrierPolicy, Convergence, Publication, SessionsOn},
};

/// The absolute time in which new connections are parked.
#[derive(Clone, Copy, Debug)]
pub(super) struct HoldWindow {
    pub(super) since: UnixMillis,
    pub(super) until: UnixMillis,
}

/// Publishes the routes of every database that a migration moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoutePublisher<'a> {
    pub(super) ports: &'a Ports,
    pub(super) settings: &'a Settings,
    pub(super) migration: &'a Migration,
}

impl<'a> RoutePublisher<'a> {
    /// The server that a switch in `direction` takes writers away from.
    pub(super) fn leaving(self, direction: Direction) -> &'a ServerName {
        self.migration.server(direction.leaves())
    }

    /// The sessions on that server, as the sidecars report them.
    pub(super) fn reported(self, direction: Direction) -> SessionsOn {
        let databases = self.migration.catalogued();
        let server = self.leaving(direction);
        self.ports.evidence.sessions(&databases, server)
    }

    /// Parks new connections of every database, writers' and readers', for `window`.
    pub(super) async fn hold(
        self,
        direction: Direction,
        window: HoldWindow,
    ) -> Result<Publication, Failure> {
        let routes = self.ports.catalog.routes().await?;
        let changes = self
            .migration
            .databases
            .iter()
            .map(|database| {
                let readers = routes
                    .get(&database.name)
                    .map_or_else(Vec::new, |routes| routes.reader.origin().to_vec());
                let HoldWindow { since, until } = window;
                let hold = |from| Some(Route::Hold { from, since, until });
                let change = RouteChange {
                    writer: hold(vec![self.leaving(direction).clone()]),
                    reader: hold(readers),
                };
                (database.name.clone(), change)
            })
            .collect();
        Ok(self.ports.data_plane.publish(&changes).await?)
    }

    /// Parks new connections that the target of a bake would get, for `window`. What is parked already,
    /// or sent elsewhere, stays so. `None`: nothing was to be done.
    pub(super) async fn hold_for_target(
        self,
        window: HoldWindow,
    ) -> Result<Option<Publication>, Failure> {
        let HoldWindow { since, until } = window;
        let target = std::slice::from_ref(&self.migration.target);
        self.change_each(|route| match route {
            Route::Serve { servers, .. } if servers == target => Some(Route::Hold {
                from: target.to_vec(),
                since,
                until,
            }),
            Route::Serve { .. } | Route::Hold { .. } | Route::Refuse => None,
        })
        .await
    }

    /// Sends those that are parked since then for the target there again.
    pub(super) async fn release_to_target(
        self,
        since: UnixMillis,
    ) -> Result<Option<Publication>, Failure> {
        let target = std::slice::from_ref(&self.migration.target);
        self.change_each(|route| {
            held_for(route, target, since).then(|| Route::serve(target.to_vec()))
        })
        .await
    }

    /// Publishes what `change` makes of each route, where it makes something of any.
    async fn change_each(
        self,
        change: impl Fn(&Route) -> Option<Route>,
    ) -> Result<Option<Publication>, Failure> {
        let routes = self.ports.catalog.routes().await?;
        let databases = self.migration.databases.iter();
        let changes: BTreeMap<_, _> = databases
            .filter_map(|database| {
                let routes = routes.get(&database.name)?;
                let change = RouteChange {
                    writer: change(&routes.writer),
                    reader: change(&routes.reader),
                };
                (change != RouteChange::default()).then(|| (database.name.clone(), change))
            })
            .collect();
        if changes.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.ports.data_plane.publish(&changes).await?))
    }

    /// Sends writers to `writer` and readers where `readers` says.
    pub(super) async fn serve(
        self,
        writer: &ServerName,
        readers: Readers,
    ) -> Result<Publication, Failure> {
        let routes = self.ports.catalog.routes().await?;
        let changes = self
            .migration
            .databases
            .iter()
            .map(|database| {
                let former = routes.get(&database.name);
                let change = RouteChange {
                    writer: Some(serve(vec![writer.clone()], former, Role::Writer)),
                    reader: Some(serve(
                        self.readers(readers, &database.name, former),
                        former,
                        Role::Reader,
                    )),
                };
                (database.name.clone(), change)
            })
            .collect();
        Ok(self.ports.data_plane.publish(&changes).await?)
    }

    /// The first database whose writers are not sent to `server` alone, and where they are sent. Those
    /// that are parked for a target that is down wait for that.
    pub(super) async fn not_served_by(
        self,
        server: &ServerName,
    ) -> Result<Option<String>, Failure> {
        let routes = self.ports.catalog.routes().await?;
        let databases = self.migration.databases.iter();
        let held_since = self.migration.machine.held_since();
        let mut elsewhere = databases.filter_map(|database| {
            let writer = routes.get(&database.name).map(|routes| &routes.writer)?;
            let alone = std::slice::from_ref(server);
            let serves = matches!(writer, Route::Serve { servers, .. } if servers == alone)
                || held_since.is_some_and(|since| held_for(writer, alone, since));
            (!serves).then(|| format!("{} is {writer}", database.name))
        });
        Ok(elsewhere.next())
    }

    /// The first database whose writers are sent to `server`.
    pub(super) async fn served_by(
        self,
        server: &ServerName,
    ) -> Result<Option<DatabaseName>, Failure> {
        let routes = self.ports.catalog.routes().await?;
        let mut databases = self.migration.databases.iter();
        let served = databases.find(|database| {
            let routes = routes.get(&database.name);
            routes.is_some_and(
                |routes| matches!(&routes.writer, Route::Serve { servers, .. } if servers.contains(server)),
            )
        });
        Ok(served.map(|database| database.name.clone()))
    }

    /// Takes out of the routes what drains: the migration ends, and nobody is left there.
    pub(super) async fn end_draining(self) -> Result<(), Failure> {
        self.change_each(drained).await?;
        Ok(())
    }

    /// Waits for `publication`; nobody's silence stops a switch that is past its fence.
    pub(super) async fn converge(self, publication: &Publication) -> Convergence {
        let deadline = self.settings.barrier_deadline;
        self.ports
            .data_plane
            .converge(publication, BarrierPolicy::AllConnected, deadline)
            .await
    }

    fn readers(
        self,
        readers: Readers,
        database: &DatabaseName,
        now: Option<&Routes>,
    ) -> Vec<ServerName> {
        let former = self.migration.facts.former_readers().get(database);
        // A process that died in the hold has not journalled them; the held route names them.
        let held = || now.map_or_else(Vec::new, |routes| routes.reader.origin().to_vec());
        let former = &former.cloned().unwrap_or_else(held);
        if former.is_empty() {
            return Vec::new();
        }
        match readers {
            Readers::AsBefore => former.to_vec(),
            Readers::OnTarget => vec![self.migration.target.clone()],
            Readers::WithoutTarget => {
                let target = &self.migration.target;
                let kept: Vec<_> = former.iter().filter(|&r| r != target).cloned().collect();
                if kept.is_empty() {
                    vec![self.migration.source.clone()]
                } else {
                    kept
                }
            }
        }
    }
}

/// Where readers go. A database that had none before the first hold gets none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Readers {
    /// Where they were before the first hold.
    AsBefore,
    /// To the new writer: endpoints downstream of the source cannot follow its timeline
    /// and leave the pool.
    OnTarget,
    /// Where they were, the target apart, which is closed; else to the source.
    WithoutTarget,
}

/// One line on who did what with a publication.
pub(super) fn convergence_message(convergence: &Convergence) -> String {
    let acknowledged = count(convergence.acknowledged.len(), "sidecar");
    let mut parts = vec![format!("{acknowledged} acknowledged")];
    let mut name = |what: &str, nodes: Vec<String>| {
        if !nodes.is_empty() {
            parts.push(format!("{what}: {}", nodes.join(", ")));
        }
    };
    let names = |nodes: &[pointsman_catalog::NodeId]| -> Vec<String> {
        nodes.iter().map(ToString::to_string).collect()
    };
    name(
        "refused",
        convergence
            .refused
            .iter()
            .map(|(node, reason)| format!("{node} ({reason})"))
            .collect(),
    );
    name("silent", names(&convergence.lagging));
    name("not connected", names(&convergence.absent));
    name("unregistered", names(&convergence.unregistered));
    name("gone meanwhile", names(&convergence.left));
    let joined = convergence.joined.len();
    let joined = (joined > 0).then(|| joined.to_string());
    name("come meanwhile", joined.into_iter().collect());
    parts.join("; ")
}
