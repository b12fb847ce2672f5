//! The roles of a server without effects: reads what servers say of themselves and writes down
//! every statement that a switch would run, built by the functions that build the real ones.

mod reverse;
mod server;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pointsman_catalog::Server;

use super::{
    acl,
    connection::Connector,
    identity,
    inspector::SqlInspector,
    powers::Powers,
    probe_sessions::SqlProbeSessions,
    record, replication,
    session::{Purpose, Session},
};
use crate::{
    Lsn,
    ports::{
        ControlId, ControlledServer, DatabaseProvider, FenceRecord, Inspector, Observation,
        ProbeSessions, ProviderError, Recorder, Roles,
    },
};
use server::RecordingServer;

/// The provider of a dry run.
#[derive(Debug)]
pub(super) struct RecordingProvider {
    connector: Connector,
    probes: SqlProbeSessions,
    recorder: Recorder,
}

impl RecordingProvider {
    pub(super) fn new(connector: &Connector, recorder: Recorder) -> Self {
        Self {
            connector: connector.clone(),
            probes: SqlProbeSessions::new(connector.clone()),
            recorder,
        }
    }
}

#[async_trait]
impl DatabaseProvider for RecordingProvider {
    fn reaches(&self, _server: &Server) -> bool {
        true
    }

    async fn attach(
        &self,
        server: &Server,
        _control: &ControlId,
    ) -> Result<ControlledServer, ProviderError> {
        let session =
            Session::open(&self.connector, server, "postgres", &Purpose::Preflight).await?;
        let observed = identity::read(&session).await?;
        let databases = observed.databases.iter();
        let datnames: Vec<_> = databases
            .map(|database| database.datname.as_str())
            .collect();
        let powers = Powers::observe(&session).await?;
        let subscribe = powers.subscribe();
        let publish = powers.publish();
        let promote = powers.promote();
        let recording = Arc::new(RecordingServer {
            server: server.clone(),
            acls: acl::read(&session, &datnames).await?,
            observed,
            powers,
            promoted: Mutex::new(None),
            synchronous: Mutex::new(replication::synchronous(&session).await?),
            recorder: self.recorder.clone(),
        });
        let roles = Roles {
            observe: Arc::clone(&recording) as _,
            sessions: Ok(Arc::clone(&recording) as _),
            fence: Ok(Arc::clone(&recording) as _),
            replication: Ok(Arc::clone(&recording) as _),
            guarded_promotion: promote.map(|()| Arc::clone(&recording) as _),
            wal_proof: Ok(Arc::clone(&recording) as _),
            reverse_publisher: publish.map(|()| Arc::clone(&recording) as _),
            reverse_subscriber: subscribe.map(|()| Arc::clone(&recording) as _),
            probe_table: Ok(Arc::clone(&recording) as _),
            preparation: Ok(recording),
        };
        Ok(ControlledServer::new(server.name.clone(), roles))
    }

    async fn flush(&self, server: &Server) -> Result<Lsn, ProviderError> {
        Ok(self.observe(server).await?.position)
    }

    async fn observe(&self, server: &Server) -> Result<Observation, ProviderError> {
        identity::look_at(&self.connector, server).await
    }

    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError> {
        Ok(Box::new(SqlInspector::open(&self.connector, server).await?))
    }

    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError> {
        record::look_at(&self.connector, server).await
    }

    fn probes(&self) -> &dyn ProbeSessions {
        &self.probes
    }

    fn recording(&self, recorder: Recorder) -> Arc<dyn DatabaseProvider> {
        Arc::new(Self::new(&self.connector, recorder))
    }
}
