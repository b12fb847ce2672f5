use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use pointsman_catalog::{Conninfo, Server};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::{
    connection::Connector,
    hosts,
    session::{Purpose, Session},
};
use crate::ports::{HostSeen, Inspector, ProviderError, Tried};

/// Read-only sessions, one per database, opened when first asked for. What is tried runs on
/// sessions of its own, one try at a time: a refusal leaves a session in an aborted
/// transaction for a moment.
#[derive(Debug)]
pub(super) struct SqlInspector {
    server: Server,
    connector: Connector,
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
    tries: Mutex<BTreeMap<String, Session>>,
}

impl SqlInspector {
    pub(super) async fn open(
        connector: &Connector,
        server: &Server,
    ) -> Result<Self, ProviderError> {
        let inspector = Self {
            server: server.clone(),
            connector: connector.clone(),
            sessions: Mutex::default(),
            tries: Mutex::default(),
        };
        inspector.session("postgres").await?;
        Ok(inspector)
    }

    async fn session(&self, datname: &str) -> Result<Arc<Session>, ProviderError> {
        let mut sessions = self.sessions.lock().await;
        if let Some(session) = sessions.get(datname).filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let opened =
            Session::open(&self.connector, &self.server, datname, &Purpose::Preflight).await?;
        let session = Arc::new(opened);
        sessions.insert(datname.to_owned(), Arc::clone(&session));
        Ok(session)
    }
}

#[async_trait]
impl Inspector for SqlInspector {
    async fn rows(
        &self,
        datname: &str,
        select: &str,
    ) -> Result<Vec<Map<String, Value>>, ProviderError> {
        let session = self.session(datname).await?;
        let select = select.trim().trim_end_matches(';');
        let sql = format!("SELECT to_jsonb(q)::text FROM ({select}\n) AS q");
        let what = "run a check";
        let rows = session.rows_once(what, &sql).await?;
        rows.iter()
            .map(|row| {
                serde_json::from_str(row.get(0)).map_err(|error| ProviderError::Failed {
                    server: self.server.name.clone(),
                    what: what.to_owned(),
                    reason: error.to_string(),
                })
            })
            .collect()
    }

    /// The session is out of the map meanwhile: a try that nobody waits for any more takes its
    /// session with it.
    async fn try_out(&self, datname: &str, statements: &str) -> Result<Tried, ProviderError> {
        let mut tries = self.tries.lock().await;
        let session = match tries.remove(datname).filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => Session::open(&self.connector, &self.server, datname, &Purpose::Trial).await?,
        };
        let what = "try what a switch will do";
        let tried = session.try_out(what, statements).await?;
        tries.insert(datname.to_owned(), session);
        Ok(tried)
    }

    async fn hosts(&self) -> Result<Vec<HostSeen>, ProviderError> {
        let mut seen = hosts::look_at("control", &self.connector, &self.server).await?;
        if let Some(probed) = self.server.as_probed() {
            seen.extend(hosts::look_at("probe", &self.connector, &probed).await?);
        }
        Ok(seen)
    }

    fn hands_over_password(&self) -> bool {
        let string = self.connector.replication(&self.server, "postgres", "");
        let info = string.map(|string| Conninfo::parse(string.reveal()));
        matches!(info, Ok(Ok(info)) if info.get("password").is_some())
    }

    fn probe_role(&self) -> Result<Option<String>, String> {
        self.connector.probe_role(&self.server)
    }

    fn probe_login(&self, datname: &str) -> Result<(), String> {
        self.connector.probe_login(&self.server, datname)
    }
}
