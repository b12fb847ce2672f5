//! PostgreSQL does what the simulated servers do: the behaviours of `simulate`, on real servers.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use pointsman_catalog::{FenceLevel, Server, ServerName};
use pointsman_cutover::{
    machine::Side,
    ports::DatabaseProvider,
    providers::postgres::{PostgresProvider, SecretSources},
};
use pointsman_lab::{
    postgres::{self, Hosting, PairOptions, PostgresPair, PostgresServer},
    scratch::Scratch,
};
use pointsman_simulate::behaviours::{Behaviour, Client, Stage};
use tokio::{runtime::Builder, time::sleep};

struct RealStage {
    pair: PostgresPair,
    _scratch: Scratch,
}

struct RealClient(postgres::Session);

fn on_postgresql(behaviour: Behaviour) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let scratch = Scratch::new()?;
        let options = PairOptions {
            hosting: Hosting::SelfManaged,
            fsync: false,
            ..PairOptions::default()
        };
        let stage = RealStage {
            pair: PostgresPair::start(scratch.path(), &options).await?,
            _scratch: scratch,
        };
        behaviour(&stage).await
    })
}

impl RealStage {
    fn postgres(&self, side: Side) -> &PostgresServer {
        match side {
            Side::Source => &self.pair.source,
            Side::Target => &self.pair.target,
        }
    }
}

fn words(error: &tokio_postgres::Error) -> String {
    let said = error.as_db_error().map(|db| db.message().to_owned());
    said.unwrap_or_else(|| error.to_string())
}

#[async_trait]
impl Stage for RealStage {
    fn provider(&self) -> Arc<dyn DatabaseProvider> {
        Arc::new(PostgresProvider::new(SecretSources::unrestricted()))
    }

    fn server(&self, side: Side) -> Server {
        let server = self.postgres(side);
        let endpoint = server.address();
        Server {
            name: ServerName::new(server.name()).expect("a name"),
            endpoint: endpoint.to_string().parse().expect("an address"),
            control: server.control(endpoint),
            control_password: None,
            replication: Some(server.replication(endpoint)),
            replication_password: None,
            probe: None,
            probe_password: None,
            fence: FenceLevel::Sql,
        }
    }

    async fn connect(&self, side: Side, datname: &str) -> Result<Box<dyn Client>, String> {
        let conninfo = self.postgres(side).conninfo_as("app", datname);
        let session = postgres::connect(&conninfo).await;
        let session = session.map_err(|error| {
            error
                .downcast_ref()
                .map_or_else(|| format!("{error:#}"), words)
        })?;
        Ok(Box::new(RealClient(session)))
    }

    async fn rows(&self, side: Side, datname: &str) -> Result<u64> {
        let session = self.postgres(side).client(datname).await?;
        let count = "SELECT count(*) FROM writes";
        let count: i64 = session.query_one(count, &[]).await?.get(0);
        u64::try_from(count).context("no count")
    }

    async fn lift(&self, side: Side, datname: &str) -> Result<()> {
        let session = self.postgres(side).client("postgres").await?;
        let open = format!("ALTER DATABASE {datname} ALLOW_CONNECTIONS true CONNECTION LIMIT -1");
        session.batch_execute(&open).await?;
        Ok(())
    }

    async fn pause(&self, time: Duration) {
        sleep(time).await;
    }
}

#[async_trait]
impl Client for RealClient {
    async fn insert(&mut self) -> Result<(), String> {
        let insert = "INSERT INTO writes (client, number) VALUES (1, 1)";
        let inserted = self.0.batch_execute(insert).await;
        inserted.map_err(|error| words(&error))
    }
}

pointsman_simulate::every_behaviour!(on_postgresql);
