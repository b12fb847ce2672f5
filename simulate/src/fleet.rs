//! Sidecars: each has the routes that it was sent last, and says so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{
    Catalog, DatabaseName, NodeId, Route, RouteChange, Routes, ServerName, UnixMillis,
};
use pointsman_cutover::{
    machine::Side,
    ports::{
        BarrierPolicy, Convergence, DataPlane, DataPlaneError, Membership, Publication, Rehearsal,
    },
};

use crate::{
    schedule::Timer,
    world::{Shared, World},
};

/// Where a new connection goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    To(Side),
    Parked,
    Refused,
}

/// All sidecars, and what they are to have.
#[derive(Debug)]
pub(crate) struct Fleet {
    sidecars: Vec<Sidecar>,
    newest: BTreeMap<DatabaseName, Routes>,
    sequence: u64,
}

#[derive(Clone, Debug, Default)]
struct Sidecar {
    routes: BTreeMap<DatabaseName, Routes>,
    acknowledged: u64,
    cut_off: bool,
    /// It refuses what it is sent next.
    refuses: bool,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            sidecars: vec![Sidecar::default(); 3],
            newest: BTreeMap::new(),
            sequence: 0,
        }
    }
}

impl Fleet {
    pub(crate) fn way(&self, sidecar: usize, database: &str, reads: bool, wall: UnixMillis) -> Way {
        let routes = self.sidecars[sidecar].routes.iter();
        let mut routes = routes.filter(|(name, _)| name.as_str() == database);
        let Some((_, routes)) = routes.next() else {
            return Way::Refused;
        };
        let route = if reads {
            &routes.reader
        } else {
            &routes.writer
        };
        match route {
            Route::Serve { servers, .. } => match servers.first().map(ServerName::as_str) {
                Some("green") => Way::To(Side::Target),
                Some(_) => Way::To(Side::Source),
                None => Way::Refused,
            },
            Route::Hold { until, .. } if wall < *until => Way::Parked,
            Route::Hold { .. } | Route::Refuse => Way::Refused,
        }
    }

    fn node(number: usize) -> Option<NodeId> {
        NodeId::new(format!("app-{number}")).ok()
    }

    fn nodes(&self, which: impl Fn(&Sidecar) -> bool) -> Vec<NodeId> {
        let sidecars = self.sidecars.iter().enumerate();
        let found = sidecars.filter(|(_, sidecar)| which(sidecar));
        found.filter_map(|(number, _)| Self::node(number)).collect()
    }

    /// Where clients are sent by the store.
    pub(crate) fn newest(&self) -> &BTreeMap<DatabaseName, Routes> {
        &self.newest
    }

    pub(crate) fn refuse_next(&mut self, sidecar: usize) {
        self.sidecars[sidecar].refuses = true;
    }
}

impl World {
    /// Sends routes to every sidecar that is connected.
    pub(crate) fn publish(&mut self, routes: BTreeMap<DatabaseName, Routes>) -> u64 {
        for (name, routes) in routes {
            let known = self.fleet.newest.get(&name).map(|known| known.epoch);
            if known.is_none_or(|known| known < routes.epoch) {
                self.note(|_| format!("routes of {name}: writer {}", routes.writer));
                self.fleet.newest.insert(name, routes);
            }
        }
        self.fleet.sequence += 1;
        for number in 0..self.fleet.sidecars.len() {
            self.bring_up_to_date(number);
        }
        self.fleet.sequence
    }

    fn bring_up_to_date(&mut self, number: usize) {
        let way = self.some(200..3_000);
        let (newest, sequence) = (self.fleet.newest.clone(), self.fleet.sequence);
        self.after(way, move |world| {
            let sidecar = &mut world.fleet.sidecars[number];
            if sidecar.cut_off || std::mem::take(&mut sidecar.refuses) {
                return;
            }
            sidecar.acknowledged = sidecar.acknowledged.max(sequence);
            // An acknowledgement is not yet use.
            let use_after = world.some(0..28_000);
            world.after(use_after, move |world| {
                let known = &mut world.fleet.sidecars[number].routes;
                for (name, routes) in newest {
                    if known
                        .get(&name)
                        .is_none_or(|known| known.epoch < routes.epoch)
                    {
                        known.insert(name, routes);
                    }
                }
            });
        });
    }

    /// A sidecar loses its control plane, or finds it again.
    pub(crate) fn cut_off(&mut self, number: usize, cut_off: bool) {
        self.fleet.sidecars[number].cut_off = cut_off;
        if !cut_off {
            self.bring_up_to_date(number);
        }
    }
}

/// The data plane of one process.
#[derive(Debug)]
pub(crate) struct SimulatedFleet {
    pub(crate) shared: Shared,
    pub(crate) catalog: Arc<Catalog>,
}

impl SimulatedFleet {
    async fn wait(&self, sequence: u64, barrier: BarrierPolicy, deadline: Duration) -> Convergence {
        let give_up = self.shared.world().now() + crate::schedule::micros(deadline);
        loop {
            let (convergence, now) = {
                let world = self.shared.world();
                (world.fleet.convergence(sequence, barrier), world.now())
            };
            if convergence.reached || now >= give_up {
                return convergence;
            }
            Timer::new(&self.shared, Duration::from_millis(1)).await;
        }
    }
}

impl Fleet {
    fn convergence(&self, sequence: u64, barrier: BarrierPolicy) -> Convergence {
        let lagging = self.nodes(|it| !it.cut_off && it.acknowledged < sequence);
        let absent = self.nodes(|it| it.cut_off && it.acknowledged < sequence);
        let all = barrier == BarrierPolicy::AllRegistered;
        Convergence {
            reached: lagging.is_empty() && (absent.is_empty() || !all),
            acknowledged: self.nodes(|it| it.acknowledged >= sequence),
            lagging,
            absent,
            ..Convergence::default()
        }
    }
}

#[async_trait]
impl DataPlane for SimulatedFleet {
    async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<Publication, DataPlaneError> {
        let changed = self.catalog.change_routes(changes).await;
        let changed = changed.map_err(|error| DataPlaneError::Store(Box::new(error)))?;
        let routes = changed.routes.iter();
        let epochs = routes
            .map(|(name, routes)| (name.clone(), routes.epoch))
            .collect();
        let sequence = self.shared.world().publish(changed.routes);
        Ok(Publication { sequence, epochs })
    }

    async fn converge(
        &self,
        publication: &Publication,
        barrier: BarrierPolicy,
        deadline: Duration,
    ) -> Convergence {
        self.wait(publication.sequence, barrier, deadline).await
    }

    async fn rehearse(&self, deadline: Duration) -> Result<Rehearsal, DataPlaneError> {
        let sequence = self.shared.world().publish(BTreeMap::new());
        let fleet = self
            .wait(sequence, BarrierPolicy::AllRegistered, deadline)
            .await;
        Ok(Rehearsal {
            canaries: None,
            fleet: Some(fleet),
        })
    }

    async fn membership(&self) -> Result<Membership, DataPlaneError> {
        let fleet = &self.shared.world().fleet;
        Ok(Membership {
            registered: fleet.nodes(|_| true),
            absent: fleet.nodes(|it| it.cut_off),
            ..Membership::default()
        })
    }
}
