//! The control sessions of one leader on one server.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use pointsman_catalog::{FenceLevel, Server, ServerName};
use pointsman_cutover::{
    machine::{Side, supersedes},
    ports::{ControlId, ProviderError},
};
use std::time::Duration;

use crate::{
    network::{To, failed, unreachable},
    schedule::{Timer, micros},
    server::{Backend, CONTROL, Kind, Refused, Server as Simulated},
    world::{Shared, World},
};

use super::{let_in, side_of};

/// One session to `postgres`, and one for each database that was opened.
#[derive(Debug)]
pub(crate) struct Control {
    pub(super) shared: Shared,
    pub(super) side: Side,
    pub(super) name: ServerName,
    pub(super) level: FenceLevel,
    pub(super) leader: ControlId,
    postgres: u64,
    databases: Mutex<BTreeMap<String, u64>>,
}

impl Control {
    /// Opens the session to `postgres`, and ends what an older leader of this migration has there.
    pub(super) async fn attach(
        shared: &Shared,
        server: &Server,
        leader: ControlId,
    ) -> Result<Self, ProviderError> {
        let side = side_of(server);
        let open = leader.clone();
        let to = To { side, pid: None };
        let opened = shared.ask(to, "connect to postgres", move |world| {
            let_in(world, side)?;
            Ok(enter(world, side, "postgres", &open))
        });
        let control = Self {
            postgres: opened.await?,
            shared: shared.clone(),
            side,
            name: server.name.clone(),
            level: server.fence,
            leader,
            databases: Mutex::default(),
        };
        control.take_over().await?;
        Ok(control)
    }

    async fn take_over(&self) -> Result<(), ProviderError> {
        let leader = self.leader.clone();
        self.ask("read the fence record", move |server, _| {
            let fences = server.tables.fences();
            let newer = fences.iter().find(|fenced| {
                let record = &fenced.record;
                record.migration == leader.migration && supersedes(record.epoch, leader.epoch)
            });
            match newer {
                Some(newer) => Err(superseded(server, &leader, newer.record.epoch)),
                None => Ok(()),
            }
        })
        .await?;
        let deadline = self.shared.world().now() + FORMER_LEADER;
        loop {
            let leader = self.leader.clone();
            let own = self.postgres;
            let left = self.ask("end the former leader's sessions", move |server, _| {
                let mut ended = Vec::new();
                for (pid, backend) in &server.backends {
                    if let Kind::Control { migration, epoch } = &backend.kind
                        && *migration == leader.migration
                        && *pid != own
                    {
                        if supersedes(*epoch, leader.epoch) {
                            return Err(superseded(server, &leader, *epoch));
                        }
                        ended.push(*pid);
                    }
                }
                for pid in &ended {
                    server.end_backend(*pid);
                }
                Ok(ended.len())
            });
            if left.await? == 0 {
                return Ok(());
            }
            if self.shared.world().now() >= deadline {
                return Err(self.timed_out(
                    "the end of the former leader's sessions",
                    Duration::from_micros(FORMER_LEADER),
                    "some are left",
                ));
            }
            self.pause().await;
        }
    }

    /// A statement on the session to `postgres`.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        act: impl FnOnce(&mut Simulated, u64) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        self.ask_world(what, move |world, side| {
            let now = world.now();
            act(world.server_mut(side), now)
        })
        .await
    }

    /// The same where it touches more than its server.
    pub(super) async fn ask_world<T: Send + 'static>(
        &self,
        what: &'static str,
        act: impl FnOnce(&mut World, Side) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let side = self.side;
        let to = To {
            side,
            pid: Some(self.postgres),
        };
        self.shared
            .ask(to, what, move |world| act(world, side))
            .await
    }

    /// A statement on the session to `datname`.
    pub(super) async fn ask_in<T: Send + 'static>(
        &self,
        datname: &str,
        what: &'static str,
        act: impl FnOnce(&mut Simulated) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let side = self.side;
        let to = To {
            side,
            pid: Some(self.session(datname)?),
        };
        self.shared
            .ask(to, what, move |world| act(world.server_mut(side)))
            .await
    }

    /// A transaction of the engine's own.
    pub(super) async fn transaction(
        &self,
        what: &'static str,
        changes: impl FnOnce(&Simulated) -> Vec<crate::tables::Change> + Send + 'static,
    ) -> Result<(), ProviderError> {
        self.ask(what, move |server, _| {
            let changes = changes(server);
            match server.commit_own(changes) {
                Ok(_) => Ok(()),
                Err(reason) => Err(failed(&server.name, what, reason)),
            }
        })
        .await
    }

    fn session(&self, datname: &str) -> Result<u64, ProviderError> {
        let known = self.databases().get(datname).copied();
        known.filter(|pid| self.is_open(*pid)).ok_or_else(|| {
            unreachable(
                &self.name,
                format!("the control session to {datname} is gone"),
            )
        })
    }

    fn databases(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// As far as this end knows: an end that a cut keeps from it is not known.
    fn is_open(&self, pid: u64) -> bool {
        let world = self.shared.world();
        let server = world.server(self.side);
        let is_cut = world.network.cut.contains(crate::network::name(self.side));
        !world.network.given_up.contains(&pid) && (is_cut || server.backends.contains_key(&pid))
    }

    pub(super) fn has_ended(&self) -> bool {
        !self.is_open(self.postgres)
    }

    /// Opens a session to `datname` where there is none, and keeps it.
    pub(super) async fn open(&self, datname: &str) -> Result<(), ProviderError> {
        if self.session(datname).is_ok() {
            return Ok(());
        }
        let side = self.side;
        let (leader, wanted) = (self.leader.clone(), datname.to_owned());
        let to = To { side, pid: None };
        let opened = self.shared.ask(to, "connect to a database", move |world| {
            let server = world.server(side);
            match server.admits(CONTROL, &wanted, false) {
                Ok(()) => Ok(enter(world, side, &wanted, &leader)),
                Err(refused) => Err(refusal(server, refused, &wanted)),
            }
        });
        let pid = opened.await?;
        // A newer leader has ended it, and knows nothing of sessions that are opened later.
        let leads = self.ask("look whether it still leads", |_, _| Ok(())).await;
        match leads {
            Ok(()) => self.databases().insert(datname.to_owned(), pid),
            Err(_) => {
                self.shared.world().give_up(side, pid);
                None
            }
        };
        leads
    }

    /// The sessions of this leader, which "none left" does not count.
    pub(super) fn own_pids(&self) -> Vec<u64> {
        let databases = self.databases();
        databases.values().copied().chain([self.postgres]).collect()
    }

    /// Between two looks.
    pub(super) async fn pause(&self) {
        Timer::new(&self.shared, Duration::from_millis(1)).await;
    }

    pub(super) fn deadline(&self, within: Duration) -> u64 {
        self.shared.world().now().saturating_add(micros(within))
    }

    pub(super) fn has_passed(&self, deadline: u64) -> bool {
        self.shared.world().now() >= deadline
    }

    pub(super) fn timed_out(&self, what: &str, waited: Duration, found: &str) -> ProviderError {
        ProviderError::TimedOut {
            server: self.name.clone(),
            what: what.to_owned(),
            waited,
            found: found.to_owned(),
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let pids = self.own_pids();
        let mut world = self.shared.world();
        for pid in pids {
            world.give_up(self.side, pid);
        }
    }
}

fn enter(world: &mut World, side: Side, datname: &str, leader: &ControlId) -> u64 {
    let pid = world.new_pid();
    let wall = world.wall();
    let shown_from = world.now();
    let server = world.server_mut(side);
    let started = server.clock(wall);
    let kind = Kind::Control {
        migration: leader.migration.clone(),
        epoch: leader.epoch,
    };
    let database = datname.to_owned();
    let backend = Backend {
        database,
        role: CONTROL,
        kind,
        started,
        shown_from,
    };
    server.backends.insert(pid, backend);
    pid
}

fn refusal(server: &Simulated, refused: Refused, datname: &str) -> ProviderError {
    let (code, words) = refused.words(datname);
    let reason = format!("{words} ({code})");
    if refused == Refused::Closed {
        return ProviderError::Closed {
            server: server.name.clone(),
            datname: datname.to_owned(),
            reason,
        };
    }
    failed(&server.name, &format!("connecting to {datname}"), reason)
}

pub(super) fn superseded(server: &Simulated, leader: &ControlId, found: u64) -> ProviderError {
    ProviderError::Superseded {
        server: server.name.clone(),
        migration: leader.migration.clone(),
        found,
        own: leader.epoch,
    }
}

const FORMER_LEADER: u64 = 5_000_000;
