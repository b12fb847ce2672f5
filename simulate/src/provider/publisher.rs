use async_trait::async_trait;
use pointsman_cutover::ports::{
    ProviderError, ReversePublisher, ReverseSlot, SequenceValue, SlotProgress,
};

use crate::{
    network::failed,
    server::{Kind, Slot},
};

use super::{control::Control, looks::drop_slots};

#[async_trait]
impl ReversePublisher for Control {
    async fn create_slots(&self, datnames: &[String]) -> Result<Vec<ReverseSlot>, ProviderError> {
        let mut slots = Vec::new();
        for datname in datnames {
            let database = datname.clone();
            let made = self.ask_in(datname, "make the reverse slot", move |server| {
                if server.in_recovery {
                    let reason = "a standby makes no logical slot";
                    return Err(failed(&server.name, "make the reverse slot", reason));
                }
                let oid = server
                    .tables
                    .databases
                    .get(&database)
                    .map_or(0, |it| it.oid);
                let slot = format!("pointsman_rb_{oid}");
                let position = server.position;
                let known = server.slots.entry(slot.clone()).or_insert_with(|| Slot {
                    confirmed: position,
                });
                Ok(ReverseSlot {
                    datname: database,
                    slot,
                    lsn: known.confirmed,
                })
            });
            slots.push(made.await?);
        }
        Ok(slots)
    }

    async fn slots_there(&self, datnames: &[String]) -> Result<Vec<ReverseSlot>, ProviderError> {
        let datnames = datnames.to_vec();
        self.ask("look for reverse slots", move |server, _| {
            let there = datnames.into_iter().filter_map(|datname| {
                let oid = server.tables.databases.get(&datname)?.oid;
                let slot = format!("pointsman_rb_{oid}");
                let lsn = server.slots.get(&slot)?.confirmed;
                Some(ReverseSlot { datname, slot, lsn })
            });
            Ok(there.collect())
        })
        .await
    }

    async fn drop_slots(&self, slots: &[ReverseSlot]) -> Result<(), ProviderError> {
        let names = slots.iter().map(|slot| slot.slot.clone()).collect();
        drop_slots(self, names).await
    }

    async fn slot_progress(
        &self,
        slots: &[ReverseSlot],
    ) -> Result<Vec<SlotProgress>, ProviderError> {
        let names: Vec<_> = slots.iter().map(|slot| slot.slot.clone()).collect();
        self.ask("look at the reverse slots", move |server, _| {
            if server.in_recovery {
                let reason = "recovery is in progress (55000)";
                return Err(failed(&server.name, "look at the reverse slots", reason));
            }
            let there = names.into_iter().filter_map(|slot| {
                let confirmed = server.slots.get(&slot)?.confirmed;
                let serves = Kind::Walsender {
                    slot: Some(slot.clone()),
                };
                Some(SlotProgress {
                    streaming: server.backends.values().any(|it| it.kind == serves),
                    slot,
                    confirmed,
                    position: server.position,
                    kept_from: confirmed,
                })
            });
            Ok(there.collect())
        })
        .await
    }

    async fn missing(&self, slots: &[ReverseSlot]) -> Result<Vec<String>, ProviderError> {
        let mut missing = Vec::new();
        for ReverseSlot { datname, slot, .. } in slots {
            self.open(datname).await?;
            let (database, slot) = (datname.clone(), slot.clone());
            let gone = self.ask_in(datname, "look for the reverse slot", move |server| {
                let published = server.tables.publications.contains(&database);
                Ok(match (server.slots.contains_key(&slot), published) {
                    (true, true) => None,
                    (true, false) => Some("publication"),
                    (false, _) => Some("reverse slot"),
                })
            });
            let gone = gone.await?;
            missing.extend(gone.map(|it| format!("the {it} of database {datname} is gone")));
        }
        Ok(missing)
    }

    async fn left_out(&self, datnames: &[String]) -> Result<Vec<String>, ProviderError> {
        let mut left_out = Vec::new();
        for datname in datnames {
            self.open(datname).await?;
            let database = datname.clone();
            let carried = self.ask_in(
                datname,
                "compare tables with the publication",
                move |server| Ok(server.tables.publications.contains(&database)),
            );
            if !carried.await? {
                left_out.push(format!("{datname}.public.writes"));
            }
        }
        Ok(left_out)
    }

    async fn sequences(&self, datname: &str) -> Result<Vec<SequenceValue>, ProviderError> {
        let database = datname.to_owned();
        self.ask_in(datname, "read its sequences", move |server| {
            let value = server.tables.sequences.get(&database).copied();
            Ok(vec![SequenceValue {
                name: "public.writes_id_seq".to_owned(),
                value: value.unwrap_or_default(),
                is_called: true,
            }])
        })
        .await
    }
}
