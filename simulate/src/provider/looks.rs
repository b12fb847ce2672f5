//! What a server says of itself, of its replication, and of its probe table.

use std::time::Duration;

use async_trait::async_trait;
use pointsman_cutover::{
    Lsn,
    ports::{
        LeftTimeline, Observation, Observe, ProbeTable, ProviderError, Replay, Replication,
        StandbyLink, Synchronous,
    },
};

use crate::{network::failed, server::Kind, tables::Change};

use super::control::Control;

#[async_trait]
impl Observe for Control {
    async fn observe(&self) -> Result<Observation, ProviderError> {
        let look =
            |world: &mut crate::world::World, side| Ok(world.server(side).observe(world.wall()));
        self.ask_world("observe it", look).await
    }

    async fn left_timeline(&self, timeline: u32) -> Result<LeftTimeline, ProviderError> {
        self.ask("read its timeline's history", move |server, _| {
            Ok(match server.fork {
                Some(fork) if timeline + 1 == server.timeline => LeftTimeline::At(fork),
                Some(_) => LeftTimeline::Never,
                None => LeftTimeline::NotKnown,
            })
        })
        .await
    }
}

#[async_trait]
impl Replication for Control {
    async fn replay(&self) -> Result<Replay, ProviderError> {
        self.ask("read its replay position", |server, _| {
            Ok(Replay {
                in_recovery: server.in_recovery,
                replayed: server.replayed().unwrap_or_default(),
            })
        })
        .await
    }

    async fn await_replay(&self, lsn: Lsn, within: Duration) -> Result<Replay, ProviderError> {
        let deadline = self.deadline(within);
        loop {
            let replay = self.replay().await?;
            if !replay.in_recovery || replay.replayed >= lsn {
                return Ok(replay);
            }
            if self.has_passed(deadline) {
                let what = format!("replay up to {lsn}");
                return Err(self.timed_out(
                    &what,
                    within,
                    &format!("it is at {}", replay.replayed),
                ));
            }
            self.pause().await;
        }
    }

    async fn standby_link(&self) -> Result<StandbyLink, ProviderError> {
        self.ask("read what feeds it", |server, _| {
            Ok(StandbyLink {
                slot: server.fed_by.clone(),
                restore_command: String::new(),
            })
        })
        .await
    }

    async fn other_standbys(&self, slot: Option<&str>) -> Result<Vec<String>, ProviderError> {
        let slot = slot.map(str::to_owned);
        self.ask_world("list its standbys", move |world, side| {
            world.bystander.is_listed();
            let standbys = world.standbys(side).into_iter();
            let others = standbys.filter(|(_, fed_by)| *fed_by != slot.as_deref());
            Ok(others.map(|(name, _)| name.to_owned()).collect())
        })
        .await
    }

    async fn synchronous(&self) -> Result<Synchronous, ProviderError> {
        let what = "read which standbys its commits wait for";
        self.ask_world(what, |world, side| Ok(world.synchronous(side)))
            .await
    }

    async fn wait_for_standbys(&self, names: &str) -> Result<(), ProviderError> {
        let what = "change which standbys its commits wait for";
        let names = names.to_owned();
        self.ask_world(what, move |world, side| {
            world.server_mut(side).synchronous.file = names;
            let after = world.some(300..4000);
            world.after(after, move |world| {
                let synchronous = &mut world.server_mut(side).synchronous;
                synchronous.in_force.clone_from(&synchronous.file);
            });
            Ok(())
        })
        .await
    }

    async fn cut_off_standby(&self, slot: &str) -> Result<(), ProviderError> {
        let slot = slot.to_owned();
        self.ask("drop replication slots", move |server, _| {
            server.slots.remove(&slot);
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl ProbeTable for Control {
    async fn write_probe(&self, datname: &str, value: i64) -> Result<(), ProviderError> {
        let database = datname.to_owned();
        self.ask_in(datname, "write the probe row", move |server| {
            if server.in_recovery || !server.tables.probes.contains_key(&database) {
                let reason = "relation \"pointsman.probe\" cannot be written (42P01)";
                return Err(failed(&server.name, "write the probe row", reason));
            }
            let probe = Change::Probe {
                database: database.clone(),
                value,
            };
            server.commit(&database, vec![probe]);
            Ok(())
        })
        .await
    }

    async fn is_there(&self, datname: &str) -> Result<bool, ProviderError> {
        let database = datname.to_owned();
        self.ask_in(datname, "look for the probe table", move |server| {
            Ok(server.tables.probes.contains_key(&database))
        })
        .await
    }

    async fn read_probe(&self, datname: &str) -> Result<Option<i64>, ProviderError> {
        let database = datname.to_owned();
        self.ask_in(datname, "read the probe row", move |server| {
            let probe = server.tables.probes.get(&database);
            probe.copied().ok_or_else(|| {
                let reason = "relation \"pointsman.probe\" does not exist (42P01)";
                failed(&server.name, "read the probe row", reason)
            })
        })
        .await
    }
}

/// Ends the walsenders of slots and drops them.
pub(super) async fn drop_slots(control: &Control, slots: Vec<String>) -> Result<(), ProviderError> {
    control
        .ask("drop replication slots", move |server, _| {
            for slot in slots {
                let serves = Kind::Walsender {
                    slot: Some(slot.clone()),
                };
                server.backends.retain(|_, backend| backend.kind != serves);
                server.slots.remove(&slot);
            }
            Ok(())
        })
        .await
}
