//! Positions in the write-ahead log, and proof that nobody wrote after them.

mod account;
mod commit_origins;
mod look;
mod own;
mod records;
mod transaction_ids;
mod transactions;
mod writes;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use pointsman_catalog::Server;

use self::{
    account::breach,
    look::{emit, take},
    records::ByWalRecords,
    transaction_ids::ByTransactionIds,
};
use super::{
    connection::Connector,
    control_sessions::ControlSessions,
    own_transaction::own_transaction,
    session::{Purpose, Session},
};
use crate::{
    Lsn,
    ports::{
        Exempt, Look, Marker, ProofMethod, ProviderError, UserWrites, WalProof, WalReach,
        WriteProof,
    },
};

/// Proves by WAL's records where `pg_walinspect` can read them, else by transaction ids.
#[derive(Debug)]
pub(super) struct SqlWalProof {
    control: Arc<ControlSessions>,
    records: ByWalRecords,
    ids: ByTransactionIds,
    chosen: Mutex<Option<ProofMethod>>,
}

impl SqlWalProof {
    pub(super) fn new(control: Arc<ControlSessions>) -> Self {
        Self {
            records: ByWalRecords::new(Arc::clone(&control)),
            ids: ByTransactionIds::new(Arc::clone(&control)),
            control,
            chosen: Mutex::default(),
        }
    }

    /// Chooses the method, and loads what the pause will use: the first use of a function in a
    /// session loads it.
    pub(super) async fn warm_up(&self) -> Result<(), ProviderError> {
        look::warm_up(&self.control).await?;
        self.choose().await?;
        Ok(())
    }

    /// `pg_walinspect` is made when a migration starts, so a choice holds until sessions are
    /// opened again.
    async fn choose(&self) -> Result<ProofMethod, ProviderError> {
        let method = if self.records.can_read().await? {
            ProofMethod::WalRecords
        } else {
            ProofMethod::TransactionIds
        };
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(method);
        Ok(method)
    }

    /// The method; chosen now by a leader that took over behind a fence.
    async fn method(&self) -> Result<ProofMethod, ProviderError> {
        let chosen = *self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        match chosen {
            Some(method) => Ok(method),
            None => self.choose().await,
        }
    }
}

/// [`WalProof::flush`] by a session of its own, on a server that no migration drives: it need not be told
/// from others.
pub(super) async fn flush(connector: &Connector, server: &Server) -> Result<Lsn, ProviderError> {
    let session = Session::open(connector, server, "postgres", &Purpose::Passing).await?;
    let rows = session.batch(FLUSH, &emit(FLUSHED)).await?;
    look::written(&server.name, FLUSH, &rows).map(|(_, lsn)| lsn)
}

const FLUSH: &str = "flush its WAL";
const FLUSHED: (&str, &str) = ("pointsman.flush", "");

#[async_trait]
impl WalProof for SqlWalProof {
    async fn marker(&self, id: &str, datnames: &[String]) -> Result<Marker, ProviderError> {
        let what = "write the fence marker";
        let (prefix, content) = ("pointsman.fence", id);
        let (mut look, _) = take(&self.control, what, (prefix, content), None).await?;
        let write = async |datname: &String| {
            let session = self.control.database(datname)?;
            let rows = session.batch(what, &emit((prefix, content))).await?;
            look::written(&self.control.server.name, what, &rows)
        };
        let written = try_join_all(datnames.iter().map(write)).await?;
        look.own = written.iter().map(|(xid, _)| *xid).collect();
        let last = written.into_iter().map(|(_, lsn)| lsn).max();
        Ok(Marker {
            lsn: last.unwrap_or(look.lsn),
            look,
        })
    }

    async fn flush(&self) -> Result<Lsn, ProviderError> {
        let statements = [own_transaction(FLUSH), emit(FLUSHED)];
        let rows = self.control.postgres.block(FLUSH, &statements).await?;
        look::written(&self.control.server.name, FLUSH, &rows).map(|(_, lsn)| lsn)
    }

    async fn prove_unwritten(
        &self,
        since: &Look,
        exempt: &Exempt,
    ) -> Result<WriteProof, ProviderError> {
        match self.method().await? {
            ProofMethod::WalRecords => self.records.prove(since, exempt).await,
            ProofMethod::TransactionIds => self.ids.prove(since).await,
        }
    }

    async fn note_breach(&self, seen: &str) -> Result<(), ProviderError> {
        let what = "write down that its fence was broken";
        let noted = own_transaction(&breach(seen));
        self.control.postgres.block(what, &[noted]).await?;
        Ok(())
    }

    async fn user_commits(
        &self,
        since: Lsn,
        exempt: &Exempt,
    ) -> Result<Option<u64>, ProviderError> {
        match self.method().await? {
            ProofMethod::WalRecords => Ok(Some(self.records.count(since, exempt).await?)),
            ProofMethod::TransactionIds => Ok(None),
        }
    }

    async fn user_writes(
        &self,
        since: &WalReach,
        exempt: &Exempt,
        moving: &[String],
        within: Duration,
    ) -> Result<Option<UserWrites>, ProviderError> {
        match self.method().await? {
            ProofMethod::WalRecords => {
                let writes = self.records.writes(since, exempt, within).await?;
                Ok(Some(writes))
            }
            ProofMethod::TransactionIds => self.ids.writes(since, moving, within).await,
        }
    }
}
