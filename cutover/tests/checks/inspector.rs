//! An inspector as plain as can be: a new read-only session for each question.

use async_trait::async_trait;
use pointsman_catalog::ServerName;
use pointsman_cutover::ports::{Inspector, ProviderError};
use serde_json::{Map, Value};
use tokio_postgres::NoTls;

#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) port: u16,
    pub(crate) role: &'static str,
}

#[async_trait]
impl Inspector for Sessions {
    async fn rows(
        &self,
        datname: &str,
        select: &str,
    ) -> Result<Vec<Map<String, Value>>, ProviderError> {
        self.ask(datname, select)
            .await
            .map_err(|error| ProviderError::Failed {
                server: ServerName::new("tested").unwrap(),
                what: select.to_owned(),
                words: format!("{error:?}"),
            })
    }
}

impl Sessions {
    async fn ask(
        &self,
        datname: &str,
        select: &str,
    ) -> Result<Vec<Map<String, Value>>, tokio_postgres::Error> {
        let Self { port, role } = self;
        let parameters = format!("host=127.0.0.1 port={port} user={role} dbname={datname}");
        let (client, connection) = tokio_postgres::connect(&parameters, NoTls).await?;
        let asking = async {
            client
                .batch_execute(
                    "SET search_path = pg_catalog; SET row_security = off; \
                     SET statement_timeout = '5s'; SET lock_timeout = '100ms'; \
                     SET default_transaction_read_only = on",
                )
                .await?;
            let wrapped = format!("SELECT to_jsonb(q)::text FROM ({select}) AS q");
            client.query(&wrapped, &[]).await
        };
        let rows = tokio::select! {
            rows = asking => rows?,
            ended = connection => { ended?; Vec::new() }
        };
        Ok(rows
            .iter()
            .map(|row| serde_json::from_str(row.get(0)).unwrap())
            .collect())
    }
}
