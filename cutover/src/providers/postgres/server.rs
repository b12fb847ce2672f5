use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use pointsman_catalog::{FenceLevel, Server, UnixMillis};

use super::session::{Purpose, Session};
use crate::{
    Lsn,
    ports::{
        AccessRules, Armed, Breach, ConnectionAttempt, ControlId, Exempt, Fence, FenceRecord,
        FenceToken, FormerSettings, GuardedPromotion, Marker, Observation, Observe, Preparation,
        ProbeTable, PromoteAnswer, ProviderError, Replay, Replication, ReversePublisher,
        ReverseSlot, ReverseSubscriber, SequenceValue, SessionControl, SlotProgress, StandbyLink,
        SubscriptionSpec, UserCommits, WalProof,
    },
};

/// One server and the control sessions to it: one to `postgres`, which stays enterable
/// behind a fence, and one per database, which do not.
#[derive(Debug)]
pub(super) struct SqlServer {
    pub(super) server: Server,
    pub(super) control: ControlId,
    pub(super) postgres: Session,
    databases: Mutex<BTreeMap<String, Arc<Session>>>,
    /// The statement that reads WAL, once the schema of its function is known.
    pub(super) wal_reader: OnceLock<String>,
    /// The server's time before the last reload of its configuration that was asked for here.
    pub(super) reload_asked: Mutex<Option<String>>,
}

impl SqlServer {
    pub(super) fn new(server: Server, control: ControlId, postgres: Session) -> Self {
        Self {
            server,
            control,
            postgres,
            databases: Mutex::default(),
            wal_reader: OnceLock::new(),
            reload_asked: Mutex::default(),
        }
    }

    /// The sessions of this object, which "none left" does not count.
    pub(super) fn own_pids(&self) -> Vec<i32> {
        let databases = self
            .databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        databases
            .values()
            .map(|session| session.pid)
            .chain([self.postgres.pid])
            .collect()
    }

    /// The session to `datname`, opened before.
    pub(super) fn database(&self, datname: &str) -> Result<Arc<Session>, ProviderError> {
        self.open_session(datname)
            .ok_or_else(|| ProviderError::Unreachable {
                server: self.server.name.clone(),
                reason: format!("the control session to {datname} is gone"),
            })
    }

    fn open_session(&self, datname: &str) -> Option<Arc<Session>> {
        let databases = self
            .databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        databases
            .get(datname)
            .filter(|session| !session.is_closed())
            .cloned()
    }

    async fn open_database(&self, datname: &str) -> Result<(), ProviderError> {
        if self.open_session(datname).is_some() {
            return Ok(());
        }
        let purpose = Purpose::Control(self.control.clone());
        let session = Arc::new(Session::open(&self.server, datname, &purpose).await?);
        self.databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(datname.to_owned(), session);
        Ok(())
    }

    /// The pause is no time to parse, plan and load.
    async fn warm_up(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            super::reverse::warm_up(&*self.database(datname)?).await?;
        }
        self.read_identity().await?;
        self.read_replay().await?;
        self.warm_up_fence().await?;
        self.warm_up_sessions().await?;
        self.warm_up_wal().await
    }

    pub(super) fn rewrites_hba(&self) -> bool {
        self.server.fence == FenceLevel::SqlHba
    }

    pub(super) fn timed_out(&self, what: &str, waited: Duration, found: String) -> ProviderError {
        ProviderError::TimedOut {
            server: self.server.name.clone(),
            what: what.to_owned(),
            waited,
            found,
        }
    }

    /// A newer leader's fence is on the server.
    pub(super) fn superseded(&self, found: FenceRecord) -> ProviderError {
        ProviderError::Superseded {
            server: self.server.name.clone(),
            migration: found.migration,
            found: found.epoch,
            own: self.control.epoch,
        }
    }

    pub(super) fn unfit(&self, reason: impl Into<String>) -> ProviderError {
        ProviderError::Unfit {
            server: self.server.name.clone(),
            reason: reason.into(),
        }
    }
}

#[async_trait]
impl Observe for SqlServer {
    async fn observe(&self) -> Result<Observation, ProviderError> {
        self.read_identity().await
    }
}

#[async_trait]
impl SessionControl for SqlServer {
    async fn open_databases(&self, datnames: &[String]) -> Result<(), ProviderError> {
        let mut opening = Vec::with_capacity(datnames.len());
        for datname in datnames {
            opening.push(self.open_database(datname));
        }
        try_join_all(opening).await?;
        self.warm_up(datnames).await
    }

    async fn reenter_databases(&self, datnames: &[String]) -> Result<Vec<u64>, ProviderError> {
        self.reenter(datnames).await
    }

    async fn await_starting_backends(&self) -> Result<(), ProviderError> {
        self.wait_out_starting_backends().await
    }

    async fn newcomers(&self, since: UnixMillis) -> Result<u64, ProviderError> {
        self.count_newcomers(since).await
    }

    async fn end_sessions(
        &self,
        spare: &[ReverseSlot],
        deadline: Duration,
    ) -> Result<u64, ProviderError> {
        self.end_all_sessions(spare, false, deadline).await
    }

    async fn try_connect(&self, datname: &str) -> Result<ConnectionAttempt, ProviderError> {
        super::session::knock(&self.server, datname, None).await
    }
}

#[async_trait]
impl Fence for SqlServer {
    async fn close(&self, fence: &FenceRecord) -> Result<FormerSettings, ProviderError> {
        self.close_all(fence).await
    }

    async fn breaches(
        &self,
        record: &FenceRecord,
        spare: &[ReverseSlot],
    ) -> Result<Vec<Breach>, ProviderError> {
        self.find_breaches(record, spare).await
    }

    async fn await_access_rules(
        &self,
        rules: AccessRules,
        deadline: Duration,
    ) -> Result<(), ProviderError> {
        self.await_reloaded_hba(rules, deadline).await
    }

    async fn restore_access_rules(&self, former: &FormerSettings) -> Result<(), ProviderError> {
        self.put_hba_back(former).await
    }

    async fn reopen(
        &self,
        former: &FormerSettings,
        keep_closed: &[String],
    ) -> Result<Vec<u64>, ProviderError> {
        self.reopen_all(former, keep_closed).await
    }
}

#[async_trait]
impl Replication for SqlServer {
    async fn replay(&self) -> Result<Replay, ProviderError> {
        self.read_replay().await
    }

    async fn await_replay(&self, lsn: Lsn, deadline: Duration) -> Result<Replay, ProviderError> {
        self.await_replayed(lsn, deadline).await
    }

    async fn standby_link(&self) -> Result<StandbyLink, ProviderError> {
        self.read_standby_link().await
    }

    async fn cut_off_standby(&self, slot: &str) -> Result<(), ProviderError> {
        self.drop_slots_named(&[slot.to_owned()]).await
    }
}

#[async_trait]
impl GuardedPromotion for SqlServer {
    async fn promote(
        &self,
        token: FenceToken,
        deadline: UnixMillis,
    ) -> Result<PromoteAnswer, ProviderError> {
        self.guarded_promote(token, deadline).await
    }

    async fn await_primary(&self, deadline: Duration) -> Result<Observation, ProviderError> {
        self.await_end_of_recovery(deadline).await
    }
}

#[async_trait]
impl WalProof for SqlServer {
    async fn marker(&self, id: &str, datnames: &[String]) -> Result<Marker, ProviderError> {
        self.write_marker(id, datnames).await
    }

    async fn user_commits(
        &self,
        since: Lsn,
        exempt: &Exempt,
    ) -> Result<UserCommits, ProviderError> {
        self.count_user_commits(since, exempt).await
    }
}

#[async_trait]
impl ReversePublisher for SqlServer {
    async fn create_slots(&self, datnames: &[String]) -> Result<Vec<ReverseSlot>, ProviderError> {
        self.make_slots(datnames).await
    }

    async fn drop_slots(&self, slots: &[ReverseSlot]) -> Result<(), ProviderError> {
        let names: Vec<_> = slots.iter().map(|slot| slot.slot.clone()).collect();
        self.drop_slots_named(&names).await
    }

    async fn slot_progress(
        &self,
        slots: &[ReverseSlot],
    ) -> Result<Vec<SlotProgress>, ProviderError> {
        self.read_slot_progress(slots).await
    }

    async fn sequences(&self, datname: &str) -> Result<Vec<SequenceValue>, ProviderError> {
        self.read_sequences(datname).await
    }
}

#[async_trait]
impl ReverseSubscriber for SqlServer {
    async fn arm(&self, subscriptions: &[SubscriptionSpec]) -> Result<Armed, ProviderError> {
        self.arm_as_subscriber(subscriptions).await
    }

    async fn apply_errors(&self) -> Result<u64, ProviderError> {
        self.count_apply_errors().await
    }

    async fn set_sequences(
        &self,
        datname: &str,
        values: &[SequenceValue],
    ) -> Result<(), ProviderError> {
        self.write_sequences(datname, values).await
    }

    async fn disable_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.stop_apply_workers(datnames).await
    }

    async fn drop_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.forget_subscriptions(datnames).await
    }

    async fn restore_logins(&self, armed: &Armed) -> Result<(), ProviderError> {
        self.give_logins_back(armed).await
    }
}

#[async_trait]
impl ProbeTable for SqlServer {
    async fn write_probe(&self, datname: &str, value: i64) -> Result<(), ProviderError> {
        self.upsert_probe(datname, value).await
    }

    async fn read_probe(&self, datname: &str) -> Result<Option<i64>, ProviderError> {
        self.select_probe(datname).await
    }
}

#[async_trait]
impl Preparation for SqlServer {
    async fn prepare(&self, datnames: &[String]) -> Result<Exempt, ProviderError> {
        self.make_tables_and_publications(datnames).await?;
        self.exempt_filenodes(datnames).await
    }

    async fn unprepare(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.drop_tables_and_publications(datnames).await
    }
}
