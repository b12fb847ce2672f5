//! The stage in memory.

use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use futures_util::poll;
use pointsman_catalog::{FenceLevel, Server};
use pointsman_cutover::{machine::Side, ports::DatabaseProvider};
use tokio::runtime::Builder;

use super::{
    Behaviour,
    stage::{Client, Stage},
};
use crate::{
    ledger::By,
    network::name,
    provider::SimulatedProvider,
    schedule::Timer,
    server::{APP, Kind, MOVING},
    tables::Change,
    world::{Shared, World},
};

/// Runs a behaviour on two servers in memory.
///
/// # Errors
/// The behaviour is another one.
pub fn on_simulated_servers(behaviour: Behaviour) -> Result<()> {
    let shared = Shared::new(World::new(1, false)?);
    {
        let mut world = shared.world();
        world.replicate();
        world.stream_back();
    }
    let stage = SimulatedStage {
        shared: shared.clone(),
    };
    let runtime = Builder::new_current_thread().build()?;
    let ended = runtime.block_on(async {
        let mut running = pin!(behaviour(&stage));
        loop {
            if let Poll::Ready(ended) = poll!(&mut running) {
                return ended;
            }
            let mut world = shared.world();
            let next = world.schedule.next().context("nothing happens any more")?;
            next(&mut world);
        }
    });
    shared.world().ended = true;
    ended
}

struct SimulatedStage {
    shared: Shared,
}

struct SimulatedClient {
    shared: Shared,
    side: Side,
    database: &'static str,
    pid: u64,
}

impl Drop for SimulatedClient {
    fn drop(&mut self) {
        let mut world = self.shared.world();
        world.server_mut(self.side).end_backend(self.pid);
    }
}

#[async_trait]
impl Stage for SimulatedStage {
    fn provider(&self) -> Arc<dyn DatabaseProvider> {
        Arc::new(SimulatedProvider {
            shared: self.shared.clone(),
        })
    }

    fn server(&self, side: Side) -> Server {
        let name = self.shared.world().server(side).name.clone();
        Server {
            endpoint: pointsman_catalog::Endpoint::try_from("127.0.0.1:5001".to_owned())
                .unwrap_or_else(|error| panic!("{error}")),
            name,
            control: "host=127.0.0.1 user=postgres".to_owned(),
            control_password: None,
            replication: None,
            replication_password: None,
            probe: None,
            probe_password: None,
            fence: FenceLevel::Sql,
        }
    }

    async fn connect(&self, side: Side, datname: &str) -> Result<Box<dyn Client>, String> {
        let (pid, database) = {
            let mut world = self.shared.world();
            let admitted = world.server(side).admits(APP, datname, false);
            admitted.map_err(|refused| refused.words(datname).1)?;
            let database = MOVING.into_iter().find(|known| *known == datname);
            let database = database.ok_or("no such database")?;
            (world.enter(side, APP, datname, Kind::Client), database)
        };
        // Until it is shown.
        self.pause(Duration::from_millis(3)).await;
        Ok(Box::new(SimulatedClient {
            shared: self.shared.clone(),
            side,
            database,
            pid,
        }))
    }

    async fn rows(&self, side: Side, datname: &str) -> Result<u64> {
        let world = self.shared.world();
        let rows = world.server(side).tables.rows.get(datname);
        Ok(rows.map_or(0, |rows| rows.len() as u64))
    }

    async fn lift(&self, side: Side, datname: &str) -> Result<()> {
        let mut world = self.shared.world();
        world.note(|_| format!("somebody opens {datname} of {}", name(side)));
        let server = world.server_mut(side);
        server.rules.file_is_fenced = false;
        server.rules.fenced = false;
        let open = Change::Settings {
            database: datname.to_owned(),
            allow: Some(true),
            limit: Some(-1),
        };
        server.commit("postgres", vec![open]);
        Ok(())
    }

    async fn pause(&self, time: Duration) {
        Timer::new(&self.shared, time).await;
    }
}

#[async_trait]
impl Client for SimulatedClient {
    async fn insert(&mut self) -> Result<(), String> {
        let mut world = self.shared.world();
        if !world.server(self.side).backends.contains_key(&self.pid) {
            return Err("terminating connection due to administrator command".to_owned());
        }
        let written = world.write(self.side, self.pid, self.database);
        let written = written.ok_or("cannot execute INSERT in a read-only transaction")?;
        world.end_write(self.side, written, self.database, By::Stranger);
        Ok(())
    }
}
