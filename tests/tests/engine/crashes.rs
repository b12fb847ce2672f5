//! The engine is killed, wherever it hurts, and another one goes on from the store.

use anyhow::{Result, ensure};
use pointsman_cutover::{Settings, Status, journal::Entry, machine::State};
use pointsman_lab::{gate::Caught, postgres::Hosting};

use super::{
    servers::{SOON, eventually, is_standby, nothing_is_left, rows, write},
    support::{TestEnvironment, is_in, story},
};

/// The statement that lets clients into a server again.
const OPENING: &str = "ALTER DATABASE \"orders\" ALLOW_CONNECTIONS true CONNECTION LIMIT -1";
const CLOSING: &str = "ALTER DATABASE \"orders\" ALLOW_CONNECTIONS false";
const MARKER: &str = "pg_logical_emit_message(true, 'pointsman.fence'";

/// Lets another engine take over, and expects the source to serve with all `written` rows
/// and the target to be its standby.
async fn source_serves_again(env: &mut TestEnvironment, died_in: &str, written: i64) -> Result<()> {
    env.take_over().await?;
    let status = env.settled().await?;
    is_in(&status, &State::Undone)?;
    died(&status, died_in)?;
    ensure!(rows(&env.pair.source, 1).await? == written);
    ensure!(is_standby(&env.pair.target).await?);
    let readers_are_back = async || {
        let (writer, reader) = env.routes().await?;
        Ok(writer == "served by blue" && reader == "served by green")
    };
    eventually("both routes are what they were", readers_are_back).await
}

/// The last engine died in step `step`, as far as the journal knows: an intent that recovery
/// does not need is written with the next one that it needs.
fn died(status: &Status, step: &str) -> Result<()> {
    let took_over = |entry: &&Entry| entry.message.starts_with("the control plane was restarted");
    let entry = status.entries.iter().rev().find(took_over);
    ensure!(
        entry.is_some_and(|entry| entry.step == step),
        "it did not die in {step}:\n{}",
        story(status)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_intent_to_promote_the_source_serves_again() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    write(&env.pair.source, 1, 1).await?;
    env.mute_fleet();
    let _switch = env.begin_switch();
    let held = async || Ok(env.routes().await?.0.starts_with("held"));
    eventually("new connections are held", held).await?;
    env.kill().await?;
    source_serves_again(&mut env, "hold", 1).await?;

    for (number, last_request) in [(2, CLOSING), (3, MARKER)] {
        write(&env.pair.source, 1, number).await?;
        let caught = env.source_gate.hold_answer_to(last_request);
        let _switch = env.begin_switch();
        env.kill_at(caught).await?;
        env.source_gate.release();
        source_serves_again(&mut env, "fence", number).await?;
    }

    let caught = env.source_gate.hold_at(MARKER);
    let _switch = env.begin_switch();
    env.kill_at(caught).await?;
    let opened_and_nobody_was_told = env.source_gate.hold_answer_to(OPENING);
    env.take_over().await?;
    env.kill_at(opened_and_nobody_was_told).await?;
    env.source_gate.release();
    source_serves_again(&mut env, "undo", 3).await?;

    let status = env.engine().switch("m").await?;
    ensure!(
        matches!(status.migration.state(), State::Baking { .. }),
        "{}",
        story(&status)
    );
    ensure!(rows(&env.pair.target, 1).await? == 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_took_writes_while_nobody_drove_gets_no_successor() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let caught = env.target_gate.hold_at("THEN pg_promote");
    let _switch = env.begin_switch();
    env.kill_at(caught).await?;
    env.lose_requests_to_target().await?;
    // A superuser has a way through every fence.
    let superuser = env.pair.source.client("postgres").await?;
    let open = "ALTER DATABASE orders ALLOW_CONNECTIONS true";
    superuser.batch_execute(open).await?;
    let session = env.pair.source.client("orders").await?;
    let insert = "INSERT INTO writes (client, number) VALUES (1, 1)";
    session.batch_execute(insert).await?;
    let close = "ALTER DATABASE orders ALLOW_CONNECTIONS false";
    superuser.batch_execute(close).await?;
    drop((superuser, session));
    env.take_over().await?;
    let status = env.settled().await?;
    ensure!(
        matches!(status.migration.state(), State::NeedsOperator { .. }),
        "{}",
        story(&status)
    );
    ensure!(is_standby(&env.pair.target).await?);
    Ok(())
}

/// What becomes of a request that the killed engine had under way.
enum UnderWay {
    Lost,
    Arrives,
}

/// Kills the engine at `point` of a switch, past the intent to promote, and expects the next
/// one to finish the switch, to prove the reverse stream and to have a lossless way back.
async fn killed_after_the_intent(
    point: impl FnOnce(&TestEnvironment) -> Caught,
    under_way: UnderWay,
    died_in: &str,
) -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    write(&env.pair.source, 1, 1).await?;
    let caught = point(&env);
    let _switch = env.begin_switch();
    env.kill_at(caught).await?;
    match under_way {
        UnderWay::Lost => env.lose_requests_to_target().await?,
        UnderWay::Arrives => env.target_gate.release(),
    }
    env.take_over().await?;
    let status = env.proven().await?;
    ensure!(env.routes().await?.0 == "served by green");
    ensure!(rows(&env.pair.target, 1).await? == 1);
    write(&env.pair.target, 1, 2).await?;
    died(&status, died_in)?;
    goes_back(&env, 2).await
}

/// Rolls back without loss; `written` rows are on the source, which takes another one.
pub(super) async fn goes_back(env: &TestEnvironment, written: i64) -> Result<()> {
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == written);
    ensure!(env.routes().await? == ("served by blue".into(), "served by blue".into()));
    write(&env.pair.source, 1, written + 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_promotion_left_the_next_engine_asks_for_it() -> Result<()> {
    let asked = |w: &TestEnvironment| w.target_gate.hold_at("THEN pg_promote");
    killed_after_the_intent(asked, UnderWay::Lost, "promote").await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_promotion_is_under_way_the_next_engine_finishes_it() -> Result<()> {
    let asked = |w: &TestEnvironment| w.target_gate.hold_at("THEN pg_promote");
    killed_after_the_intent(asked, UnderWay::Arrives, "promote").await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_promotion_and_before_the_flip() -> Result<()> {
    let promoted = |w: &TestEnvironment| w.target_gate.hold_answer_to("THEN pg_promote");
    killed_after_the_intent(promoted, UnderWay::Lost, "promote").await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_slots_are_made() -> Result<()> {
    // The statement is prepared long before; it names a slot, by the database's oid, only
    // when it runs.
    let making_slots = |w: &TestEnvironment| w.target_gate.hold_at("pointsman_rb_1");
    killed_after_the_intent(making_slots, UnderWay::Arrives, "promote").await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_target_is_open_and_nobody_is_sent_there() -> Result<()> {
    let opened = |w: &TestEnvironment| w.target_gate.hold_answer_to(OPENING);
    killed_after_the_intent(opened, UnderWay::Lost, "flip").await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_bake_the_way_back_stays_lossless() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let caught = env.source_gate.hold_at("CREATE SUBSCRIPTION pointsman_rb");
    let _switch = env.begin_switch();
    env.kill_at(caught).await?;
    write(&env.pair.target, 1, 1).await?;
    env.source_gate.release();
    env.take_over().await?;
    env.proven().await?;

    env.kill().await?;
    write(&env.pair.target, 1, 2).await?;
    env.take_over().await?;
    env.proven().await?;
    goes_back(&env, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_bake_a_migration_is_completed_by_the_next_engine() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.kill().await?;
    env.take_over().await?;
    let status = env.engine().complete("m", false).await?;
    is_in(&status, &State::Completed)?;
    write(&env.pair.target, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_behind_the_last_statement_of_a_completion_the_next_engine_ends_it() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    // A message with this statement alone, by its length: it takes the fence table down.
    let caught = env
        .target_gate
        .hold_answer_to(b"Q\0\0\0,DROP SCHEMA IF EXISTS pointsman CASCADE\0");
    let _completion = env.begin_completion();
    caught.within(SOON).await?;
    let target = env.pair.target.client("postgres").await?;
    let taken_down = async || {
        let gone = "SELECT to_regclass('pointsman.fence') IS NULL";
        Ok(target.query_one(gone, &[]).await?.get::<_, bool>(0))
    };
    eventually("the fence table is gone", taken_down).await?;
    drop(target);
    env.kill().await?;
    env.target_gate.release();
    env.take_over().await?;
    let status = env.settled().await?;
    is_in(&status, &State::Completed)?;
    nothing_is_left(&env.pair.target).await?;
    write(&env.pair.target, 1, 1).await
}

/// Kills the engine at `caught` of a rollback, lets another one take over, and expects the
/// target to serve on with a lossless way back.
async fn killed_going_back(
    env: &mut TestEnvironment,
    number: i64,
    died_in: &str,
    point: impl FnOnce(&TestEnvironment) -> Caught,
) -> Result<()> {
    write(&env.pair.target, 1, number).await?;
    let caught = point(env);
    let _rollback = env.begin_rollback(false);
    env.kill_at(caught).await?;
    env.source_gate.release();
    env.target_gate.release();
    env.take_over().await?;
    let status = env.proven().await?;
    ensure!(
        env.routes().await?.0 == "served by green",
        "{}",
        story(&status)
    );
    ensure!(rows(&env.pair.target, 1).await? == number);
    died(&status, died_in)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_rollback_the_target_serves_on_until_the_source_is_open() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    let target_closed = |w: &TestEnvironment| w.target_gate.hold_answer_to(CLOSING);
    killed_going_back(&mut env, 1, "fence", target_closed).await?;
    let sequences = |w: &TestEnvironment| w.source_gate.hold_at("setval");
    killed_going_back(&mut env, 2, "promote", sequences).await?;
    let mut written = 2;
    // At fence level `sql` pg_hba.conf stays as it is.
    if env.pair.source.hosting() == Hosting::SelfManaged {
        let source_let_everybody_in =
            |w: &TestEnvironment| w.source_gate.hold_answer_to("pg_reload_conf");
        written = 3;
        killed_going_back(&mut env, written, "prime", source_let_everybody_in).await?;
    }

    let caught = env.source_gate.hold_answer_to(OPENING);
    let _rollback = env.begin_rollback(false);
    env.kill_at(caught).await?;
    env.source_gate.release();
    env.take_over().await?;
    let status = env.settled().await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == written);
    ensure!(env.routes().await?.0 == "served by blue");
    write(&env.pair.source, 1, written + 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_rollback_takes_everything_down_the_next_engine_ends_it() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    write(&env.pair.target, 1, 1).await?;
    let caught = env.source_gate.hold_answer_to("DROP SCHEMA IF EXISTS");
    let _rollback = env.begin_rollback(false);
    env.kill_at(caught).await?;
    env.source_gate.release();
    env.take_over().await?;
    let status = env.settled().await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(env.routes().await?.0 == "served by blue");
    nothing_is_left(&env.pair.source).await?;
    write(&env.pair.source, 1, 2).await
}
