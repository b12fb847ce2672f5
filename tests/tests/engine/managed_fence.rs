//! The fence of the source, while an API promotes the target.

use anyhow::{Result, ensure};

use super::{
    managed::{
        IS_CLOSED, STALLED, UNDER_WAY, as_superuser, asked, cause, ended, in_state, managed,
        needs_operator, only_looks_in, source_is_closed, there_and_back,
    },
    servers::{rows, write},
    support::{is_in, story},
};
use pointsman_cutover::{Status, machine::State};

const OPEN: &str = "ALTER DATABASE orders ALLOW_CONNECTIONS true";

/// Fails while database `orders` is closed.
const IS_OPEN: &str = "DO $$ BEGIN ASSERT (SELECT datallowconn FROM pg_database \
     WHERE datname = 'orders'); END $$";

const INSERT: &str = "INSERT INTO writes (client, number) VALUES (1, 2)";

/// Nobody drives the migration when it is lifted, so that it stays so until the target has it, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_opened_meanwhile_gets_no_second_writer() -> Result<()> {
    let mut env = managed().await?;
    let _switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    env.kill().await?;
    as_superuser(&env.pair.source, "postgres", OPEN).await?;
    as_superuser(&env.pair.target, "postgres", IS_OPEN).await?;
    env.api.promote(&env.pair.target).await?;
    env.take_over().await?;
    let open_target = "green came up as a primary that is not closed: database orders is open";
    let seen = |status: &Status| story(status).contains(open_target);
    let status = env.until("the open target is seen", seen).await?;
    is_in(&status, &STALLED)?;
    cause(
        &status,
        "the fence of blue does not hold while an API promotes green",
    )?;
    ensure!(env.routes().await?.0 != "served by green");
    source_is_closed(&env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_is_lifted_meanwhile_is_seen_at_once_and_put_back() -> Result<()> {
    let env = managed().await?;
    let switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    as_superuser(&env.pair.source, "postgres", OPEN).await?;
    let status = ended(switch).await?;
    is_in(&status, &STALLED)?;
    for words in [
        "the fence of blue does not hold while an API promotes green: database orders is open",
        "it is closed again, and 1 transaction was committed behind it",
    ] {
        cause(&status, words)?;
    }
    source_is_closed(&env).await?;
    // It closes as the source does: the standby follows until it is promoted.
    as_superuser(&env.pair.target, "postgres", IS_CLOSED).await?;
    env.api.promote(&env.pair.target).await?;
    // The opening is a transaction that nobody vouches for: the target is not opened beside it.
    let waits = |status: &Status| matches!(status.migration.state(), State::NeedsOperator { .. });
    needs_operator(&env.until("an operator is asked", waits).await?)?;
    ensure!(write(&env.pair.target, 1, 3).await.is_err(), "two writers");
    source_is_closed(&env).await
}

/// Closing it would shut out clients that somebody serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_opened_and_served_from_by_hand_meanwhile_stays_open() -> Result<()> {
    let env = managed().await?;
    let switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    env.send_writers_to("blue").await?;
    as_superuser(&env.pair.source, "postgres", OPEN).await?;
    let status = ended(switch).await?;
    is_in(&status, &STALLED)?;
    cause(&status, "database orders is open")?;
    as_superuser(&env.pair.source, "postgres", IS_OPEN).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wrote_behind_the_fence_meanwhile_gets_no_second_writer_beside_it() -> Result<()> {
    let mut env = managed().await?;
    let _switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    env.kill().await?;
    // Promoted before the write, which it does not have.
    as_superuser(&env.pair.target, "postgres", "SELECT pg_promote()").await?;
    as_superuser(&env.pair.source, "postgres", OPEN).await?;
    as_superuser(&env.pair.source, "orders", INSERT).await?;
    env.api
        .say(pointsman_cutover::ports::PromotionProgress::Promoted);
    env.take_over().await?;
    let waits = |status: &Status| matches!(status.migration.state(), State::NeedsOperator { .. });
    let status = env.until("an operator is asked", waits).await?;
    needs_operator(&status)?;
    ensure!(
        story(&status).contains("it is closed again, and 2 transactions were committed behind it"),
        "{}",
        story(&status)
    );
    let refused = write(&env.pair.target, 1, 3).await;
    ensure!(refused.is_err(), "two writers");
    source_is_closed(&env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_looked_in_meanwhile_is_ended_and_stops_nothing() -> Result<()> {
    let env = managed().await?;
    let switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    only_looks_in(&env, switch, "SELECT count(*) FROM pg_database").await
}

/// Nothing is known of it, which stops nothing: what was proved stands until it is proved again.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_does_not_answer_meanwhile_is_said_to_be_unwatched() -> Result<()> {
    let env = managed().await?;
    let switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    env.pair.source.stop().await?;
    let unwatched =
        |status: &Status| story(status).contains("the source's fence was not looked at");
    let status = env.until("it is said", unwatched).await?;
    is_in(&status, &UNDER_WAY)?;
    env.pair.source.start().await?;
    env.api.promote(&env.pair.target).await?;
    let status = ended(switch).await?;
    ensure!(rows(&env.pair.target, 1).await? == 1, "{}", story(&status));
    there_and_back(&env).await
}
