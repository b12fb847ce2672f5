use std::time::Duration;

use async_trait::async_trait;
use pointsman_catalog::FenceLevel;
use pointsman_cutover::{
    machine::supersedes,
    ports::{
        AccessRules, Breach, BreachKind, Fence, FenceRecord, FormerSettings, ProviderError,
        ReverseSlot,
    },
};

use crate::{
    network::failed,
    server::Server,
    tables::{Change, FencesChange},
};

use super::{
    control::{Control, superseded},
    sessions::{Workers, left},
    subscriber::admitted,
};

impl Control {
    /// Writes `pg_hba.conf`; a reload brings it into force a little later.
    async fn write_rules(&self, fenced: bool) -> Result<(), ProviderError> {
        self.ask_world("write pg_hba.conf", move |world, side| {
            world.server_mut(side).rules.file_is_fenced = fenced;
            let after = world.some(300..4000);
            world.after(after, move |world| {
                let rules = &mut world.server_mut(side).rules;
                rules.fenced = rules.file_is_fenced;
            });
            Ok(())
        })
        .await
    }

    async fn found(
        &self,
        former: &FormerSettings,
        armed: &[String],
        spare: Vec<String>,
        workers: Workers,
    ) -> Result<Vec<Breach>, ProviderError> {
        let (own, former, armed) = (self.own_pids(), former.clone(), armed.to_vec());
        self.ask("prove its fence", move |server, now| {
            let mut breaches = open_databases(server, &former, &armed);
            let sessions = left(server, now, &own, &spare, workers).into_iter();
            breaches.extend(sessions.map(|(_, session)| Breach {
                kind: BreachKind::Session,
                message: format!("a session is left: {session}"),
            }));
            Ok(breaches)
        })
        .await
    }
}

fn open_databases(server: &Server, former: &FormerSettings, armed: &[String]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut found = |kind, message| breaches.push(Breach { kind, message });
    for settings in server.tables.databases.values() {
        let datname = &settings.datname;
        let (open, limit) = (settings.allow_connections, settings.connection_limit);
        let is_armed = armed.contains(datname) && limit == 0;
        if datname == "postgres" {
            if limit != 0 {
                let message = format!("database postgres has connection limit {limit}");
                found(BreachKind::Opened, message);
            }
        } else if open && !is_armed {
            found(BreachKind::Opened, format!("database {datname} is open"));
        }
        if !former
            .databases
            .iter()
            .any(|known| known.datname == *datname)
        {
            let message = format!("database {datname} was created after the fence");
            found(BreachKind::Lasting, message);
        }
    }
    breaches
}

/// Arming takes LOGIN from these before a database opens.
fn logins_given_back(server: &Server, armed: &[String]) -> Vec<String> {
    let databases = &server.tables.databases;
    let is_open = |datname| {
        databases
            .get(datname)
            .is_some_and(|it| it.allow_connections)
    };
    if !armed.iter().any(is_open) {
        return Vec::new();
    }
    let admitted = admitted(server).into_iter();
    admitted
        .map(|role| format!("{role} can log in again"))
        .collect()
}

/// What closes every database, templates included; `postgres` is shut by its limit.
fn closing(server: &Server) -> Vec<Change> {
    let databases = server.tables.databases.values();
    let open = databases.filter(|settings| settings.allow_connections);
    open.map(|settings| {
        let database = settings.datname.clone();
        match database.as_str() {
            "postgres" => Change::Settings {
                database,
                allow: None,
                limit: Some(0),
            },
            _ => Change::Settings {
                database,
                allow: Some(false),
                limit: None,
            },
        }
    })
    .collect()
}

fn opening(
    server: &Server,
    former: &FormerSettings,
    keep_closed: &[String],
    migration: String,
) -> Vec<Change> {
    let there = |datname: &String| {
        server.tables.databases.contains_key(datname) && !keep_closed.contains(datname)
    };
    let databases = former
        .databases
        .iter()
        .filter(|known| there(&known.datname));
    let mut changes: Vec<_> = databases
        .map(|known| Change::Settings {
            database: known.datname.clone(),
            allow: (known.datname != "postgres").then_some(known.allow_connections),
            limit: Some(known.connection_limit),
        })
        .collect();
    changes.push(Change::Fences(FencesChange::Remove { migration }));
    changes
}

#[async_trait]
impl Fence for Control {
    async fn close(&self, fence: &FenceRecord) -> Result<FormerSettings, ProviderError> {
        let (wanted, leader, by_rules) = (
            fence.clone(),
            self.leader.clone(),
            self.level == FenceLevel::SqlHba,
        );
        let known = self.ask("read the fence records", move |server, _| {
            let fences = server.tables.fences();
            let known = fences
                .iter()
                .find(|fenced| fenced.record.server == wanted.server);
            match known.map(|fenced| &fenced.record) {
                Some(found) if found.migration != wanted.migration => Err(ProviderError::Unfit {
                    server: server.name.clone(),
                    reason: format!("it carries the fence of migration {}", found.migration),
                }),
                Some(found) if supersedes(found.epoch, wanted.epoch) => {
                    Err(superseded(server, &leader, found.epoch))
                }
                Some(found) => Ok(found.former.clone()),
                None => Ok(FormerSettings {
                    databases: server.tables.databases.values().cloned().collect(),
                    hba: by_rules.then(|| "host all all all trust\n".to_owned()),
                    ..FormerSettings::default()
                }),
            }
        });
        let former = known.await?;
        let record = FenceRecord {
            former: former.clone(),
            ..fence.clone()
        };
        self.transaction("close it", move |server| {
            let mut changes = vec![Change::Fences(FencesChange::Put(record))];
            changes.extend(closing(server));
            changes
        })
        .await?;
        if by_rules && former.hba.is_some() {
            self.write_rules(true).await?;
        }
        Ok(former)
    }

    async fn breaches(
        &self,
        record: &FenceRecord,
        spare: &[ReverseSlot],
    ) -> Result<Vec<Breach>, ProviderError> {
        let spare = spare.iter().map(|slot| slot.slot.clone()).collect();
        self.found(&record.former, &[], spare, Workers::End).await
    }

    async fn bake_breaches(
        &self,
        record: &FenceRecord,
        armed: &[String],
    ) -> Result<Vec<Breach>, ProviderError> {
        let former = &record.former;
        let mut breaches = self
            .found(former, armed, Vec::new(), Workers::Spare)
            .await?;
        let (armed, by_rules) = (armed.to_vec(), former.hba.is_some());
        let lifted = self.ask("look what keeps others out", move |server, _| {
            let mut lifted = logins_given_back(server, &armed);
            if by_rules && !server.rules.file_is_fenced {
                lifted.push("pg_hba.conf is not the one of the fence".to_owned());
            } else if by_rules && !server.rules.fenced {
                lifted.push("the rules that it has loaded are others".to_owned());
            }
            Ok(lifted)
        });
        breaches.extend(lifted.await?.into_iter().map(|message| Breach {
            kind: BreachKind::Opened,
            message,
        }));
        Ok(breaches)
    }

    async fn await_access_rules(
        &self,
        rules: AccessRules,
        within: Duration,
    ) -> Result<(), ProviderError> {
        if self.level != FenceLevel::SqlHba {
            return Ok(());
        }
        let deadline = self.deadline(within);
        let wanted = rules == AccessRules::Fenced;
        loop {
            if self
                .ask("try the rules", |server, _| Ok(server.rules.fenced))
                .await?
                == wanted
            {
                return Ok(());
            }
            if self.has_passed(deadline) {
                let what = "the reload of pg_hba.conf";
                return Err(self.timed_out(what, within, "other rules are in force"));
            }
            self.pause().await;
        }
    }

    async fn restore_access_rules(&self, former: &FormerSettings) -> Result<(), ProviderError> {
        match former.hba {
            Some(_) => self.write_rules(false).await,
            None => Ok(()),
        }
    }

    async fn reopen(
        &self,
        former: &FormerSettings,
        keep_closed: &[String],
    ) -> Result<(), ProviderError> {
        let (former, keep_closed) = (former.clone(), keep_closed.to_vec());
        let leader = self.leader.clone();
        self.ask_world("open it", move |world, side| {
            let server = world.server_mut(side);
            let changes = opening(server, &former, &keep_closed, leader.migration);
            server
                .commit_own(changes)
                .map_err(|reason| failed(&server.name, "open it", reason))?;
            world.opened(side, leader.epoch);
            Ok(())
        })
        .await
    }
}
