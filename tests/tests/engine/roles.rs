//! A server that lacks a role of the switch is refused before anything is changed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use pointsman_catalog::Server;
use pointsman_cutover::{
    Settings,
    machine::State,
    ports::{
        ControlId, ControlledServer, DatabaseProvider, FenceRecord, Inspector, NotOffered,
        Observation, ProbeSessions, ProviderError, Recorder, Roles,
    },
    providers::postgres::{PostgresProvider, SecretSources},
};

use super::support::TestEnvironment;

/// Once switched on, reaches `green` by SQL and has no way to promote it.
#[derive(Debug)]
pub(crate) struct UnpromotableTarget {
    pub(crate) on: AtomicBool,
    postgres: PostgresProvider,
}

impl Default for UnpromotableTarget {
    fn default() -> Self {
        Self {
            on: AtomicBool::default(),
            postgres: PostgresProvider::new(SecretSources::unrestricted()),
        }
    }
}

#[async_trait]
impl DatabaseProvider for UnpromotableTarget {
    fn reaches(&self, server: &Server) -> bool {
        self.on.load(Ordering::Relaxed) && server.name.as_str() == "green"
    }

    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<ControlledServer, ProviderError> {
        let attached = self.postgres.attach(server, control).await?;
        let roles = Roles {
            guarded_promotion: Err(NotOffered {
                reason: "nobody may call pg_promote there".to_owned(),
                remedy: "grant it".to_owned(),
            }),
            ..attached.roles().clone()
        };
        Ok(ControlledServer::new(server.name.clone(), roles))
    }

    async fn observe(&self, server: &Server) -> Result<Observation, ProviderError> {
        self.postgres.observe(server).await
    }

    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError> {
        self.postgres.inspect(server).await
    }

    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError> {
        self.postgres.fence_record(server).await
    }

    fn probes(&self) -> &dyn ProbeSessions {
        self.postgres.probes()
    }

    fn recording(&self, recorder: Recorder) -> Arc<dyn DatabaseProvider> {
        self.postgres.recording(recorder)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_nothing_can_promote_is_refused_before_anything_is_changed() -> Result<()> {
    let environment = TestEnvironment::new(Settings::default()).await?;
    environment
        .unpromotable_target()
        .on
        .store(true, Ordering::Relaxed);
    environment.create("m", &[]).await?;
    environment.engine().preflight("m").await?;
    let refused = environment
        .engine()
        .start("m")
        .await
        .map(|_| ())
        .unwrap_err();
    for part in [
        "server green",
        "promotes by one statement",
        "nobody may call pg_promote there; grant it",
    ] {
        ensure!(refused.to_string().contains(part), "{part}: {refused}");
    }
    ensure!(environment.engine().status("m")?.migration.state() == State::Planned);
    let source = environment.pair.source.client("postgres").await?;
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pointsman'";
    ensure!(source.query_one(made, &[]).await?.get::<_, i64>(0) == 0);
    Ok(())
}
