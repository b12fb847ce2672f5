//! A promotion by an API that does not come, fails, or shows what nobody expected: nothing is
//! opened without proof.

use std::time::Duration;

use anyhow::{Result, ensure};
use pointsman_catalog::store::{Key, Precondition, Write};
use pointsman_cutover::{Status, machine::State, ports::PromotionProgress};

use super::{
    api::Reception,
    managed::{
        STALLED, UNDER_WAY, as_superuser, asked, baking, cause, ended, in_state, managed,
        needs_operator, source_is_closed, stays_in, there_and_back,
    },
    servers::{SOON, eventually, is_standby, rows, write},
    support::{is_in, story},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_makes_nobody_ask_again() -> Result<()> {
    let env = managed().await?;
    env.api.receive(Reception::AnswerLost);
    let switch = asked(&env).await?;
    stays_in(&env, UNDER_WAY).await?;
    env.api.promote(&env.pair.target).await?;
    let status = ended(switch).await?;
    baking(&status)?;
    ensure!(env.api.received() == 1, "asked twice:\n{}", story(&status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_api_never_received_is_sent_again() -> Result<()> {
    let env = managed().await?;
    env.api.receive(Reception::RequestLost);
    let switch = env.begin_switch();
    in_state(&env, UNDER_WAY).await?;
    env.api.receive(Reception::Accepted);
    eventually("the API is asked", async || Ok(env.api.received() == 1)).await?;
    env.api.promote(&env.pair.target).await?;
    baking(&ended(switch).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_not_sent_again_once_somebody_has_opened_the_source() -> Result<()> {
    let env = managed().await?;
    env.api.receive(Reception::RequestLost);
    env.api.say(PromotionProgress::Unknown);
    let switch = env.begin_switch();
    in_state(&env, UNDER_WAY).await?;
    let open = "ALTER DATABASE orders ALLOW_CONNECTIONS true";
    as_superuser(&env.pair.source, "postgres", open).await?;
    env.api.receive(Reception::Accepted);
    env.api.say(PromotionProgress::NotReceived);
    let status = ended(switch).await?;
    is_in(&status, &STALLED)?;
    ensure!(env.api.received() == 0, "{}", story(&status));
    cause(&status, "orders is open")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_is_not_asked_for_servers_whose_lease_is_gone() -> Result<()> {
    let env = managed().await?;
    let caught = env.source_gate.hold_at("'pointsman.fence'");
    let switch = env.begin_switch();
    caught.within(SOON).await?;
    let migration = env.engine().status("m")?.migration;
    let lease = format!("leases/{}", migration.facts.system_identifier()?);
    let gone = Write {
        key: Key::new(lease),
        value: None,
        when: Precondition::Any,
    };
    env.catalog().store().commit(vec![gone]).await?;
    env.source_gate.release();
    let status = ended(switch).await?;
    is_in(&status, &State::Undone)?;
    cause(&status, "the lease was released")?;
    ensure!(env.api.received() == 0, "{}", story(&status));
    write(&env.pair.source, 1, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_does_not_come_opens_nothing_and_asks_an_operator() -> Result<()> {
    let mut env = managed().await?;
    env.api.be_patient(Duration::from_secs(2));
    let status = ended(asked(&env).await?).await?;
    is_in(&status, &STALLED)?;
    cause(&status, "green was not promoted within 2s")?;
    let choices = status.choices.iter().map(|choice| choice.name.as_str());
    ensure!(choices.eq(["wait", "open-source-target-is-down"]));
    let entries = stays_in(&env, STALLED).await?.entries.len();
    let later = stays_in(&env, STALLED).await?;
    ensure!(later.entries.len() == entries, "{}", story(&later));
    source_is_closed(&env).await?;

    env.kill().await?;
    env.take_over().await?;
    stays_in(&env, STALLED).await?;
    // An operator who asserts what the target itself denies is not believed.
    let engine = env.engine();
    let status = engine.resolve("m", "open-source-target-is-down").await?;
    needs_operator(&status)?;
    source_is_closed(&env).await?;
    is_in(&engine.resolve("m", "retry").await?, &STALLED)?;
    let status = engine.resolve("m", "wait").await?;
    is_in(&status, &STALLED)?;
    ensure!(env.api.received() == 1, "{}", story(&status));
    source_is_closed(&env).await?;

    env.api.promote(&env.pair.target).await?;
    there_and_back(&env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_refuses_or_fails_opens_nothing() -> Result<()> {
    let env = managed().await?;
    env.api.receive(Reception::Refused);
    env.api.say(PromotionProgress::Unknown);
    let status = env.engine().switch("m").await?;
    is_in(&status, &STALLED)?;
    cause(&status, "the cluster is backing up")?;
    source_is_closed(&env).await?;
    ensure!(is_standby(&env.pair.target).await?);

    env.api.receive(Reception::Accepted);
    env.api.say(PromotionProgress::NotReceived);
    let failing = async {
        eventually("the API is asked", async || Ok(env.api.received() == 1)).await?;
        env.api.say(PromotionProgress::Failed {
            reason: "migration-failed".to_owned(),
        });
        anyhow::Ok(())
    };
    let (status, failed) = tokio::join!(env.engine().resolve("m", "wait"), failing);
    failed?;
    let status = status?;
    is_in(&status, &STALLED)?;
    cause(&status, "migration-failed")?;
    source_is_closed(&env).await?;
    env.api.promote(&env.pair.target).await?;
    there_and_back(&env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_opens_nothing_and_one_that_is_gone_opens_the_source() -> Result<()> {
    let env = managed().await?;
    let switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    env.pair.target.crash().await?;
    env.api.say(PromotionProgress::Promoted);
    stays_in(&env, UNDER_WAY).await?;
    source_is_closed(&env).await?;

    env.api.say(PromotionProgress::Gone {
        said: "DBClusterNotFoundFault".to_owned(),
    });
    let status = ended(switch).await?;
    is_in(&status, &State::RolledBack)?;
    cause(
        &status,
        "green does not exist any more: DBClusterNotFoundFault",
    )?;
    ensure!(env.routes().await?.0 == "served by blue");
    write(&env.pair.source, 1, 2).await?;
    ensure!(rows(&env.pair.source, 1).await? == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_opens_the_source_beside_a_target_that_does_not_answer() -> Result<()> {
    let env = managed().await?;
    let switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    env.pair.target.crash().await?;
    let asserted = env.engine().resolve("m", "open-source-target-is-down");
    is_in(&asserted.await?, &State::RolledBack)?;
    is_in(&ended(switch).await?, &State::RolledBack)?;
    write(&env.pair.source, 1, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_comes_up_open_serves_nobody_until_it_is_closed() -> Result<()> {
    let env = managed().await?;
    let switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    let target = &env.pair.target;
    as_superuser(target, "postgres", "SELECT pg_promote()").await?;
    let open = "ALTER DATABASE orders ALLOW_CONNECTIONS true";
    as_superuser(target, "postgres", open).await?;
    write(target, 1, 2).await?;
    env.api.say(PromotionProgress::Promoted);
    let status = ended(switch).await?;
    is_in(&status, &STALLED)?;
    cause(&status, "is not closed: database orders is open")?;
    ensure!(env.routes().await?.0 != "served by green");
    source_is_closed(&env).await?;

    let close = "ALTER DATABASE orders ALLOW_CONNECTIONS false";
    as_superuser(target, "postgres", close).await?;
    let serves = |status: &Status| matches!(status.migration.state(), State::Baking { .. });
    let status = env.until("the target serves", serves).await?;
    ensure!(
        !status.way_back.lossless,
        "somebody wrote before the slots were made:\n{}",
        story(&status)
    );
    Ok(())
}
