//! A server that lacks a role of the switch is refused before anything is changed.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use pointsman_catalog::Server;
use pointsman_cutover::{Settings, machine::State, ports::Roles};
use pointsman_tests::reached_by_sql::{Difference, without_sql_promotion};

use super::support::TestEnvironment;

/// Once switched on, `green` is reached by SQL and nothing can promote it.
#[derive(Debug, Default)]
pub(crate) struct UnpromotableTarget {
    pub(crate) on: AtomicBool,
}

impl Difference for UnpromotableTarget {
    fn is_of(&self, server: &Server) -> bool {
        self.on.load(Ordering::Relaxed) && server.name.as_str() == "green"
    }

    fn roles(&self, by_sql: Roles) -> Roles {
        without_sql_promotion(by_sql, "grant it")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_nothing_can_promote_is_refused_before_anything_is_changed() -> Result<()> {
    let environment = TestEnvironment::new(Settings::default()).await?;
    environment
        .unpromotable_target()
        .difference
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
