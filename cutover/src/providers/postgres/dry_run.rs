//! The same verbs on paper: reads what servers say of themselves and writes down every
//! statement that a switch would run, built by the functions that build the real ones.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use pointsman_catalog::{Server, ServerName, UnixMillis};

use super::{
    PostgresProvider,
    statements::{
        PUBLICATION, SUBSCRIPTION, close_databases, create_subscription, limit_databases, promote,
        reopen_databases,
    },
};
use crate::{
    Lsn,
    ports::{
        Armed, Breach, Closed, ControlId, ControlledServer, DatabaseProvider, Exempt, FenceRecord,
        Inspector, Marker, Observation, PromoteAnswer, PromoteGuard, ProviderError, Refusal,
        Replay, ReverseSlot, SequenceValue, SlotProgress, StandbyLink, SubscriptionSpec,
        UserCommits,
    },
};

/// A plan under writing, one line an effect, shared by everything that would have one.
#[derive(Clone, Debug, Default)]
pub struct Plan(Arc<Mutex<Vec<String>>>);

impl Plan {
    /// Adds a line.
    pub fn note(&self, line: impl Into<String>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line.into());
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }
}

/// A provider without effects.
#[derive(Clone, Debug, Default)]
pub struct DryRun {
    plan: Plan,
}

impl DryRun {
    /// Writes into `plan`.
    pub fn new(plan: Plan) -> Self {
        Self { plan }
    }
}

#[async_trait]
impl DatabaseProvider for DryRun {
    async fn attach(
        &self,
        server: &Server,
        _control: &ControlId,
    ) -> Result<Box<dyn ControlledServer>, ProviderError> {
        let observed = PostgresProvider.observe(server).await?;
        Ok(Box::new(PaperServer {
            server: server.clone(),
            observed,
            promoted: Mutex::new(None),
            plan: self.plan.clone(),
        }))
    }

    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError> {
        PostgresProvider.inspect(server).await
    }

    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError> {
        PostgresProvider.fence_record(server).await
    }
}

/// A server as it was seen once, and as it would be after what was planned.
#[derive(Debug)]
struct PaperServer {
    server: Server,
    observed: Observation,
    promoted: Mutex<Option<Lsn>>,
    plan: Plan,
}

impl PaperServer {
    fn note(&self, words: impl std::fmt::Display) {
        self.plan.note(format!("{}: {words}", self.server.name));
    }

    fn note_all(&self, statements: &[String]) {
        self.note(format!("BEGIN; {}; COMMIT", statements.join("; ")));
    }

    fn oid(&self, datname: &str) -> u32 {
        let databases = &self.observed.databases;
        let found = databases
            .iter()
            .find(|database| database.datname == datname);
        found.map_or(0, |database| database.oid)
    }
}

#[async_trait]
impl ControlledServer for PaperServer {
    fn name(&self) -> &ServerName {
        &self.server.name
    }

    async fn observe(&self) -> Result<Observation, ProviderError> {
        let promoted = *self.promoted.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match promoted {
            Some(fork) => Observation {
                in_recovery: false,
                timeline: self.observed.timeline + 1,
                position: fork,
                replayed: Some(fork),
                ..self.observed.clone()
            },
            None => self.observed.clone(),
        })
    }

    async fn open_databases(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.note(format!("open control sessions to {}", datnames.join(", ")));
        Ok(())
    }

    async fn reenter_databases(&self, datnames: &[String]) -> Result<Vec<u64>, ProviderError> {
        self.note_all(&limit_databases(datnames));
        Ok(Vec::new())
    }

    async fn prepare(&self, datnames: &[String]) -> Result<Exempt, ProviderError> {
        self.note(format!(
            "make the fence table, and in {} the probe table and publication {PUBLICATION}",
            datnames.join(", ")
        ));
        Ok(Exempt::default())
    }

    async fn unprepare(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.note(format!(
            "drop publication {PUBLICATION} in {}",
            datnames.join(", ")
        ));
        Ok(())
    }

    async fn close(&self, _fence: &FenceRecord) -> Result<Closed, ProviderError> {
        let mut statements = vec!["INSERT INTO pointsman.fence …".to_owned()];
        statements.extend(close_databases(&self.observed.databases));
        self.note_all(&statements);
        if self.server.fence == pointsman_catalog::FenceLevel::SqlHba {
            self.note("COPY … TO pg_hba.conf (fenced); SELECT pg_reload_conf()");
        }
        Ok(Closed {
            databases: self.observed.databases.clone(),
            ..Closed::default()
        })
    }

    async fn barrier(&self) -> Result<(), ProviderError> {
        self.note("ALTER DATABASE … SET TABLESPACE (its own), for each closed database");
        Ok(())
    }

    async fn newcomers(&self, _since: UnixMillis) -> Result<u64, ProviderError> {
        Ok(0)
    }

    async fn end_sessions(
        &self,
        spare: &[ReverseSlot],
        deadline: Duration,
    ) -> Result<u64, ProviderError> {
        let spared: Vec<_> = spare.iter().map(|slot| slot.slot.as_str()).collect();
        let but = if spared.is_empty() {
            String::new()
        } else {
            format!(" but the walsenders of {}", spared.join(", "))
        };
        self.note(format!(
            "pg_terminate_backend every session with a database{but}; none left within {deadline:?}"
        ));
        Ok(0)
    }

    async fn breaches(
        &self,
        _record: &FenceRecord,
        _spare: &[ReverseSlot],
    ) -> Result<Vec<Breach>, ProviderError> {
        self.note("prove that it is closed and empty");
        Ok(Vec::new())
    }

    async fn try_connect(&self, datname: &str) -> Result<Refusal, ProviderError> {
        self.note(format!(
            "try a new connection to {datname}: it must be refused"
        ));
        Ok(Refusal::Refused {
            sqlstate: "55000".to_owned(),
            words: "dry run".to_owned(),
        })
    }

    async fn await_hba(&self, refusing: bool, deadline: Duration) -> Result<(), ProviderError> {
        let words = if refusing {
            "rejects"
        } else {
            "rejects no longer"
        };
        self.note(format!(
            "wait until pg_hba.conf {words}, at most {deadline:?}"
        ));
        Ok(())
    }

    async fn marker(&self, id: &str, _datnames: &[String]) -> Result<Marker, ProviderError> {
        self.note(format!(
            "SELECT pg_logical_emit_message(true, 'pointsman.fence', '{id}')"
        ));
        let at = self.observed.position;
        Ok(Marker { lsn: at, after: at })
    }

    async fn user_commits(&self, since: Lsn, _: &Exempt) -> Result<UserCommits, ProviderError> {
        self.note(format!("prove from WAL that nobody wrote since {since}"));
        Ok(UserCommits {
            count: 0,
            through: since,
        })
    }

    async fn replay(&self) -> Result<Replay, ProviderError> {
        Ok(Replay {
            in_recovery: self.observed.in_recovery,
            replayed: self.observed.position,
        })
    }

    async fn await_replay(&self, lsn: Lsn, deadline: Duration) -> Result<Replay, ProviderError> {
        self.note(format!(
            "wait until {lsn} is replayed, at most {deadline:?}"
        ));
        Ok(Replay {
            in_recovery: self.observed.in_recovery,
            replayed: lsn,
        })
    }

    async fn promote(&self, guard: &PromoteGuard) -> Result<PromoteAnswer, ProviderError> {
        self.note(promote(guard));
        *self.promoted.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard.marker);
        Ok(PromoteAnswer::Asked)
    }

    async fn await_primary(&self, deadline: Duration) -> Result<Observation, ProviderError> {
        self.note(format!("wait until it is a primary, at most {deadline:?}"));
        self.observe().await
    }

    async fn standby_link(&self) -> Result<StandbyLink, ProviderError> {
        Ok(StandbyLink {
            slot: None,
            restore_command: String::new(),
        })
    }

    async fn cut_off_standby(&self, slot: &str) -> Result<(), ProviderError> {
        self.note(format!("SELECT pg_drop_replication_slot('{slot}')"));
        Ok(())
    }

    async fn create_reverse_slots(
        &self,
        datnames: &[String],
    ) -> Result<Vec<ReverseSlot>, ProviderError> {
        Ok(datnames
            .iter()
            .map(|datname| {
                let slot = format!("pointsman_rb_{}", self.oid(datname));
                self.note(format!(
                    "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput') in {datname}"
                ));
                ReverseSlot {
                    datname: datname.clone(),
                    slot,
                    lsn: self.observed.position,
                }
            })
            .collect())
    }

    async fn drop_slots(&self, slots: &[ReverseSlot]) -> Result<(), ProviderError> {
        for slot in slots {
            self.note(format!("SELECT pg_drop_replication_slot('{}')", slot.slot));
        }
        Ok(())
    }

    async fn reopen(
        &self,
        closed: &Closed,
        keep_closed: &[String],
    ) -> Result<Vec<u64>, ProviderError> {
        let kept = |datname: &String| keep_closed.contains(datname);
        let databases = closed.databases.iter();
        let mut statements =
            reopen_databases(databases.filter(|database| !kept(&database.datname)));
        statements.push("DELETE FROM pointsman.fence …".to_owned());
        self.note_all(&statements);
        Ok(Vec::new())
    }

    async fn restore_hba(&self, closed: &Closed) -> Result<(), ProviderError> {
        if closed.hba.is_some() {
            self.note("COPY … TO pg_hba.conf (as it was); SELECT pg_reload_conf()");
        }
        Ok(())
    }

    async fn write_probe(&self, datname: &str, value: i64) -> Result<(), ProviderError> {
        self.note(format!(
            "INSERT INTO pointsman.probe … ({value}) in {datname}"
        ));
        Ok(())
    }

    async fn read_probe(&self, _datname: &str) -> Result<Option<i64>, ProviderError> {
        Ok(None)
    }

    async fn arm(&self, subscriptions: &[SubscriptionSpec]) -> Result<Armed, ProviderError> {
        for subscription in subscriptions {
            self.note(create_subscription("…", &subscription.slot));
        }
        Ok(Armed::default())
    }

    async fn slot_progress(
        &self,
        slots: &[ReverseSlot],
    ) -> Result<Vec<SlotProgress>, ProviderError> {
        self.note("wait until every reverse slot has confirmed the marker");
        Ok(slots
            .iter()
            .map(|slot| SlotProgress {
                slot: slot.slot.clone(),
                streaming: true,
                confirmed: self.observed.position,
                position: self.observed.position,
            })
            .collect())
    }

    async fn apply_errors(&self) -> Result<u64, ProviderError> {
        Ok(0)
    }

    async fn sequences(&self, datname: &str) -> Result<Vec<SequenceValue>, ProviderError> {
        self.note(format!("SELECT … FROM pg_sequences in {datname}"));
        Ok(Vec::new())
    }

    async fn set_sequences(
        &self,
        datname: &str,
        _values: &[SequenceValue],
    ) -> Result<(), ProviderError> {
        self.note(format!("SELECT setval(…) for each sequence of {datname}"));
        Ok(())
    }

    async fn disable_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            self.note(format!(
                "ALTER SUBSCRIPTION {SUBSCRIPTION} DISABLE in {datname}"
            ));
        }
        Ok(())
    }

    async fn drop_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            self.note(format!("DROP SUBSCRIPTION {SUBSCRIPTION} in {datname}"));
        }
        Ok(())
    }

    async fn restore_logins(&self, armed: &Armed) -> Result<(), ProviderError> {
        for role in &armed.nologin_roles {
            self.note(format!("ALTER ROLE {role} LOGIN"));
        }
        Ok(())
    }
}
