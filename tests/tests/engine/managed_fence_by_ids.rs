//! The fence of the source while an API promotes the target, where ids alone say that somebody
//! wrote. Of whoever was seen behind it they do not say what.

use anyhow::{Result, ensure};
use pointsman_cutover::{
    Status,
    machine::{Side, State},
    ports::ProofMethod,
};
use pointsman_lab::postgres::Hosting;

use super::{
    managed::{
        IS_CLOSED, STALLED, UNDER_WAY, as_superuser, asked, asks_and_is_ended, cause, ended,
        in_state, managed, needs_operator, only_looks_in, source_is_closed,
    },
    servers::write,
    support::{TestEnvironment, is_in},
    transaction_ids::wal_cannot_be_read,
};

const OPEN: &str = "ALTER DATABASE orders ALLOW_CONNECTIONS true";
const CLOSING: &str = "ALTER DATABASE \"orders\" ALLOW_CONNECTIONS false";

/// Servers whose proofs stand by ids, and on which nobody takes one by itself.
async fn by_ids() -> Result<TestEnvironment> {
    let env = managed().await?;
    if env.pair.source.hosting() == Hosting::Managed {
        let silent = "ALTER TABLE heartbeat RENAME TO silent";
        as_superuser(&env.pair.source, "rdsadmin", silent).await?;
    } else {
        for sql in [
            "ALTER SYSTEM SET autovacuum = off",
            "SELECT pg_reload_conf()",
        ] {
            as_superuser(&env.pair.source, "postgres", sql).await?;
        }
    }
    wal_cannot_be_read(&env).await?;
    Ok(env)
}

/// An API is promoting the target of migration `m`.
async fn under_way(env: &TestEnvironment) -> Result<()> {
    in_state(env, UNDER_WAY).await?;
    let by = env
        .engine()
        .status("m")?
        .migration
        .facts
        .proved_by(Side::Source);
    ensure!(by == Some(ProofMethod::TransactionIds), "{by:?}");
    Ok(())
}

/// The API is through, and an operator is asked with both servers closed.
async fn opens_nothing(env: &TestEnvironment, seen: &str) -> Result<()> {
    env.api.promote(&env.pair.target).await?;
    let waits = |status: &Status| matches!(status.migration.state(), State::NeedsOperator { .. });
    let status = env.until("an operator is asked", waits).await?;
    needs_operator(&status)?;
    cause(&status, "behind the fence of blue, which was seen broken")?;
    cause(&status, seen)?;
    ensure!(env.routes().await?.0 != "served by green");
    ensure!(write(&env.pair.target, 1, 3).await.is_err(), "two writers");
    source_is_closed(env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_was_lifted_meanwhile_opens_no_target_where_ids_are_counted() -> Result<()> {
    let env = by_ids().await?;
    let switch = asked(&env).await?;
    under_way(&env).await?;
    as_superuser(&env.pair.source, "postgres", OPEN).await?;
    let status = ended(switch).await?;
    is_in(&status, &STALLED)?;
    cause(&status, "it is closed again, and 1 transaction (")?;
    cause(&status, "came behind it")?;
    source_is_closed(&env).await?;
    opens_nothing(&env, "database orders is open").await
}

/// It may have written in database `postgres`, or in any that it could enter.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_took_an_id_behind_the_fence_opens_no_target_where_ids_are_counted() -> Result<()> {
    let env = by_ids().await?;
    let switch = asked(&env).await?;
    under_way(&env).await?;
    asks_and_is_ended(&env, "SELECT pg_current_xact_id()").await?;
    is_in(&ended(switch).await?, &STALLED)?;
    opens_nothing(&env, "a session is left").await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_took_no_id_stops_nothing_where_ids_are_counted() -> Result<()> {
    let env = by_ids().await?;
    let switch = asked(&env).await?;
    under_way(&env).await?;
    only_looks_in(&env, switch, "SELECT 1").await
}

/// Of the breach nothing is in its journal; the source has it on record.
#[tokio::test(flavor = "multi_thread")]
async fn killed_when_it_had_closed_the_source_again_its_successor_opens_no_target() -> Result<()> {
    let mut env = by_ids().await?;
    let _switch = asked(&env).await?;
    under_way(&env).await?;
    let closed_again = env.source_gate.hold_answer_to(CLOSING);
    as_superuser(&env.pair.source, "postgres", OPEN).await?;
    env.kill_at(closed_again).await?;
    env.source_gate.release();
    // The statement may still run.
    as_superuser(&env.pair.source, "postgres", IS_CLOSED).await?;
    source_is_closed(&env).await?;
    env.take_over().await?;
    opens_nothing(&env, "database orders is open").await
}
