use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;

use super::{
    admission::admit,
    client_sessions::{ClientSessions, Workers},
    control_sessions::ControlSessions,
    fence::SqlFence,
    identity::SqlIdentity,
    replication::SqlReplication,
    reverse::SqlReversePublisher,
    statements::close_named,
    wal::SqlWalProof,
};
use crate::ports::{
    Arrivals, ConnectionAttempt, Observe as _, ProviderError, Replication as _, ReverseSlot,
    SessionControl,
};

/// Opens control sessions and ends all others.
#[derive(Debug)]
pub(super) struct SqlSessions {
    pub(super) control: Arc<ControlSessions>,
    pub(super) clients: ClientSessions,
    pub(super) warmed: Warmed,
}

/// The roles whose statements are prepared when the control sessions open.
#[derive(Debug)]
pub(super) struct Warmed {
    pub(super) identity: SqlIdentity,
    pub(super) replication: Arc<SqlReplication>,
    pub(super) fence: Arc<SqlFence>,
    pub(super) wal: Arc<SqlWalProof>,
    pub(super) publisher: Arc<SqlReversePublisher>,
}

impl Warmed {
    /// The pause is no time to parse, plan and load.
    async fn warm_up(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.publisher.warm_up(datnames).await?;
        self.identity.observe().await?;
        self.replication.replay().await?;
        self.fence.warm_up().await?;
        self.wal.warm_up().await
    }
}

#[async_trait]
impl SessionControl for SqlSessions {
    fn is_lost(&self) -> bool {
        self.control.postgres.is_closed()
    }

    async fn open_databases(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.control.open_databases(datnames).await?;
        self.clients.warm_up().await?;
        self.warmed.warm_up(datnames).await
    }

    /// Sessions into closed databases of a promoted server: the control role and superusers are
    /// let in, everybody else is kept out, and the databases are closed again behind them.
    async fn reenter_databases(&self, datnames: &[String]) -> Result<(), ProviderError> {
        admit(&self.control, "let the control role in again", datnames).await?;
        let entered = self.open_databases(datnames).await;
        self.control
            .postgres
            .transaction("close it again", &close_named(datnames))
            .await?;
        entered?;
        self.clients.await_starting().await?;
        self.clients
            .end_all(&[], Workers::End, END_SESSIONS)
            .await?;
        Ok(())
    }

    async fn await_starting_backends(&self) -> Result<(), ProviderError> {
        self.clients.await_starting().await
    }

    async fn arrivals(
        &self,
        since: UnixMillis,
        datnames: &[String],
    ) -> Result<Arrivals, ProviderError> {
        self.clients.arrivals(since, datnames).await
    }

    async fn end_sessions(
        &self,
        spare: &[ReverseSlot],
        deadline: Duration,
    ) -> Result<u64, ProviderError> {
        self.clients.end_all(spare, Workers::End, deadline).await
    }

    async fn end_strangers(&self, deadline: Duration) -> Result<u64, ProviderError> {
        self.clients.end_all(&[], Workers::Spare, deadline).await
    }

    async fn try_connect(&self, datname: &str) -> Result<ConnectionAttempt, ProviderError> {
        let connector = &self.control.connector;
        connector
            .try_connect(&self.control.server, datname, None)
            .await
    }
}

const END_SESSIONS: Duration = Duration::from_secs(2);
