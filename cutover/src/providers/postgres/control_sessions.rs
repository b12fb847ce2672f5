use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use pointsman_catalog::{FenceLevel, Server};

use super::{
    connection::Connector,
    powers::Powers,
    session::{Purpose, Session},
};
use crate::ports::{ControlId, FenceRecord, ProviderError};

/// The control sessions to one server, which all its roles share: one to `postgres`, which
/// stays enterable behind a fence, and one per database, which do not.
#[derive(Debug)]
pub(super) struct ControlSessions {
    pub(super) server: Server,
    pub(super) connector: Connector,
    pub(super) leader: ControlId,
    pub(super) postgres: Session,
    pub(super) powers: Powers,
    databases: Mutex<BTreeMap<String, Arc<Session>>>,
}

impl ControlSessions {
    /// Opens the session to `postgres` and reads what it may do.
    pub(super) async fn open(
        connector: &Connector,
        server: &Server,
        leader: &ControlId,
    ) -> Result<Self, ProviderError> {
        let purpose = Purpose::Control(leader.clone());
        let postgres = Session::open(connector, server, "postgres", &purpose).await?;
        Ok(Self {
            server: server.clone(),
            connector: connector.clone(),
            leader: leader.clone(),
            powers: Powers::observe(&postgres).await?,
            postgres,
            databases: Mutex::default(),
        })
    }

    /// The sessions of this object, and those by which this process looks at the server beside it:
    /// "none left" does not count them.
    pub(super) fn own_pids(&self) -> Vec<i32> {
        let looks = &self.connector.looks;
        let databases = self
            .databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        databases
            .values()
            .map(|session| session.pid)
            .chain([self.postgres.pid])
            .chain(looks.pids(&self.postgres.server_started))
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

    /// Opens the sessions that are not open yet, and keeps them.
    pub(super) async fn open_databases(&self, datnames: &[String]) -> Result<(), ProviderError> {
        let mut opening = Vec::with_capacity(datnames.len());
        for datname in datnames {
            opening.push(self.open_database(datname));
        }
        try_join_all(opening).await?;
        Ok(())
    }

    pub(super) async fn open_database(&self, datname: &str) -> Result<(), ProviderError> {
        if self.open_session(datname).is_some() {
            return Ok(());
        }
        let session = Arc::new(self.passing(datname).await?);
        self.databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(datname.to_owned(), session);
        Ok(())
    }

    /// A control session to `datname` that is not kept.
    pub(super) async fn passing(&self, datname: &str) -> Result<Session, ProviderError> {
        let purpose = Purpose::Control(self.leader.clone());
        let session = Session::open(&self.connector, &self.server, datname, &purpose).await?;
        // A newer leader has ended it, and knows nothing of sessions that are opened later.
        let what = "look whether it still leads";
        self.postgres.row(what, "SELECT true", &[]).await?;
        // Several hosts, or a name that has moved, may lead to two servers; both would be driven as one.
        if session.server_started != self.postgres.server_started {
            return Err(ProviderError::Unreachable {
                server: self.server.name.clone(),
                reason: format!(
                    "the session to {datname} leads to a server that was started at {} (Unix time), and the \
                     one to postgres to one that was started at {}",
                    session.server_started, self.postgres.server_started
                ),
            });
        }
        Ok(session)
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
            own: self.leader.epoch,
        }
    }

    pub(super) fn unfit(&self, reason: impl Into<String>) -> ProviderError {
        ProviderError::Unfit {
            server: self.server.name.clone(),
            reason: reason.into(),
        }
    }
}
