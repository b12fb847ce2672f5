//! The source that was left, watched while the target serves.

use std::{fs, time::Duration};

use anyhow::{Result, bail, ensure};
use pointsman_cutover::{
    EngineError, Lsn, Settings, Status,
    machine::{LeftSource, State},
};
use pointsman_lab::postgres::{Hosting, PostgresServer, Session, Walsender};
use tokio::time::timeout;

use super::{
    adversaries::violet_streams,
    servers::{SOON, eventually, rows, write},
    support::{TestEnvironment, is_in, is_whole, story},
};

/// A superuser's insert into `orders` of a source that only superusers can enter.
async fn inserts(server: &PostgresServer, number: i64) -> Result<()> {
    let session = server.client("orders").await?;
    // The stream brings ids too.
    let sql = "INSERT INTO writes (id, client, number) OVERRIDING SYSTEM VALUE \
               VALUES (-$1::bigint, 9, $1)";
    session.execute(sql, &[&number]).await?;
    Ok(())
}

pub(super) async fn disturbed(env: &TestEnvironment) -> Result<Status> {
    env.until("it is seen that the source was not left alone", |status| {
        status.migration.machine.left_source() == LeftSource::Disturbed
    })
    .await
}

pub(super) fn names(status: &Status, what: &str) -> Result<()> {
    let said = &status.way_back.message;
    ensure!(
        said.contains(what),
        "{what:?} is not in {said:?}\n{}",
        story(status)
    );
    ensure!(!status.way_back.lossless, "{}", story(status));
    let warned = status
        .alarm_warnings
        .iter()
        .any(|warning| warning.contains(what));
    ensure!(
        warned,
        "{what:?} is in no warning: {:?}",
        status.alarm_warnings
    );
    Ok(())
}

pub(super) fn refusal<T: std::fmt::Debug>(outcome: Result<T, EngineError>) -> Result<String> {
    match outcome {
        Err(EngineError::Refused(message)) => Ok(message),
        other => bail!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_who_writes_on_the_source_in_the_bake_is_named_and_given_up_by_a_word_alone()
-> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        // The armed source lets nobody but the control role in.
        return Ok(());
    }
    let env = TestEnvironment::new(Settings::default()).await?;
    let status = env.switched().await?;
    ensure!(status.way_back.lossless, "{}", story(&status));
    // What the reverse stream writes is no stranger's.
    write(&env.pair.target, 1, 1).await?;
    eventually("the stream delivers", async || {
        Ok(rows(&env.pair.source, 1).await? == 1)
    })
    .await?;
    inserts(&env.pair.source, 1).await?;
    let status = timeout(Duration::from_secs(10), disturbed(&env)).await??;
    println!("{}", story(&status));
    names(&status, "others committed 1 transaction (")?;
    names(&status, " in orders)")?;

    let refused = refusal(env.engine().complete("m", false).await)?;
    ensure!(
        refused.contains("in orders") && refused.contains("--accept-loss"),
        "{refused}"
    );
    let refused = refusal(env.engine().rollback("m", false).await)?;
    ensure!(
        refused.contains("in orders") && refused.contains("--accept-loss"),
        "{refused}"
    );
    let status = env.engine().status("m")?;
    ensure!(
        matches!(status.migration.state(), State::Baking { .. }),
        "{}",
        story(&status)
    );

    env.engine().accept_source_writes("m").await?;
    let status = env.engine().complete("m", false).await?;
    is_in(&status, &State::Completed)
}

/// The word that gave a row up was for one rollback.
#[tokio::test(flavor = "multi_thread")]
async fn s26_what_a_rollback_gave_up_is_said_again_when_it_is_undone() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(());
    }
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.mute_fleet();
    inserts(&env.pair.source, 1).await?;
    // Its own look finds the row, before the watch looks again.
    let _rollback = env.begin_rollback(true);
    let held = async || Ok(env.routes().await?.0.starts_with("held"));
    eventually("new connections are held", held).await?;
    env.kill().await?;
    env.take_over().await?;
    let status = disturbed(&env).await?;
    names(&status, "others committed 1 transaction (")?;
    let refused = refusal(env.engine().complete("m", false).await)?;
    ensure!(refused.contains("--accept-loss"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_a_rollback_right_after_a_strangers_write_holds_nobody() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(());
    }
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    inserts(&env.pair.source, 1).await?;
    // The watch may not have looked yet.
    let refused = refusal(env.engine().rollback("m", false).await)?;
    ensure!(refused.contains("in orders"), "{refused}");
    let status = disturbed(&env).await?;
    ensure!(
        !status
            .entries
            .iter()
            .any(|entry| entry.step == "hold" && entry.switch == 2),
        "{}",
        story(&status)
    );
    let status = env.engine().rollback("m", true).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 9).await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_a_completion_right_after_a_strangers_write_takes_nothing_down() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(());
    }
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    inserts(&env.pair.source, 1).await?;
    let refused = refusal(env.engine().complete("m", false).await)?;
    ensure!(refused.contains("in orders"), "{refused}");
    env.proven().await?;
    write(&env.pair.target, 1, 1).await?;
    eventually("the stream delivers", async || {
        Ok(rows(&env.pair.source, 1).await? == 1)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_who_opens_the_source_in_the_bake_finds_it_closed_again() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    let superuser = env.pair.source.client("postgres").await?;
    let open = match env.pair.source.hosting() {
        Hosting::SelfManaged => "ALTER DATABASE orders CONNECTION LIMIT -1",
        Hosting::Managed => "GRANT CONNECT ON DATABASE orders TO PUBLIC",
    };
    superuser.batch_execute(open).await?;
    drop(superuser);
    let status = disturbed(&env).await?;
    names(&status, "database orders is open")?;
    let status = env.proven().await?;
    names(&status, "database orders is open")?;
    let closed = "SELECT datconnlimit = 0 OR NOT has_database_privilege('app', oid, 'CONNECT') \
                  FROM pg_database WHERE datname = 'orders'";
    let superuser = env.pair.source.client("postgres").await?;
    ensure!(superuser.query_one(closed, &[]).await?.get::<_, bool>(0));
    write(&env.pair.target, 1, 1).await?;
    ensure!(
        write(&env.pair.source, 1, 2).await.is_err(),
        "the source is open"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_a_pg_hba_conf_that_is_put_back_in_the_bake_is_fenced_again() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(());
    }
    let env = TestEnvironment::new(Settings::default()).await?;
    let superuser = env.pair.source.client("postgres").await?;
    let row = superuser
        .query_one("SELECT current_setting('hba_file')", &[])
        .await?;
    let path: String = row.get(0);
    let former = fs::read_to_string(&path)?;
    drop(superuser);
    let status = env.switched().await?;
    ensure!(is_whole(&status), "{}", story(&status));
    let fenced = fs::read_to_string(&path)?;
    ensure!(fenced != former);
    fs::write(&path, &former)?;
    let superuser = env.pair.source.client("postgres").await?;
    superuser.execute("SELECT pg_reload_conf()", &[]).await?;
    let status = disturbed(&env).await?;
    names(&status, "pg_hba.conf")?;
    ensure!(fs::read_to_string(&path)? == fenced);
    // Nobody wrote: an operator's word is wanted all the same, since nobody can say who came.
    let refused = refusal(env.engine().complete("m", false).await)?;
    ensure!(refused.contains("pg_hba.conf"), "{refused}");
    env.proven().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_what_was_written_on_the_source_before_the_arming_is_seen() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let looks = env.source_gate.hold_at("pg_snapshot_xmin");
    let switch = env.begin_switch();
    looks.within(SOON).await?;
    let superuser = env.pair.source.client("postgres").await?;
    let open = "ALTER DATABASE orders ALLOW_CONNECTIONS true";
    superuser.batch_execute(open).await?;
    drop(superuser);
    inserts(&env.pair.source, 1).await?;
    env.source_gate.release();
    switch.await??;
    let status = disturbed(&env).await?;
    names(&status, "orders")?;
    let status = env.proven().await?;
    let first = |what: &str| {
        status
            .entries
            .iter()
            .position(|entry| entry.message.contains(what))
    };
    let (seen, armed) = (
        first("was not left alone"),
        first("a row written on green arrived"),
    );
    ensure!(seen.is_some() && seen < armed, "{}", story(&status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_does_not_answer_in_the_bake_is_not_known() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.source_gate.sever();
    let said = |status: &Status| {
        status
            .way_back
            .message
            .contains("who has written on blue since ")
    };
    let status = env.until("it is said that it is not known", said).await?;
    ensure!(!status.way_back.lossless, "{}", story(&status));
    ensure!(status.migration.machine.left_source() == LeftSource::Quiet);
    env.source_gate.restore();
    env.until("it is known again", |status| {
        !said(status) && is_whole(status)
    })
    .await?;
    Ok(())
}

/// Waits until the engine has read the source's WAL up to what is written now.
async fn looked(env: &TestEnvironment, session: &Session) -> Result<()> {
    let row = session
        .query_one("SELECT pg_current_wal_insert_lsn()::text", &[])
        .await?;
    let written: Lsn = row.get::<_, String>(0).parse()?;
    env.until("the engine has looked", |status| {
        let watch = status.migration.facts.source_watch();
        let reach = watch.and_then(|watch| watch.reach());
        reach.is_some_and(|reach| reach.lsn >= written)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_who_writes_on_the_source_while_a_completion_closes_it_is_asked_for() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(());
    }
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.proven().await?;
    // Behind the look that begins it.
    let closes = env
        .source_gate
        .hold_at("ALTER SUBSCRIPTION pointsman_rb DISABLE");
    let completion = env.begin_completion();
    closes.within(SOON).await?;
    inserts(&env.pair.source, 1).await?;
    env.source_gate.release();
    let Err(refused) = completion.await? else {
        bail!("it was completed");
    };
    let refused = refused.to_string();
    ensure!(refused.contains("in orders"), "{refused}");
    ensure!(refused.contains("--accept-loss"), "{refused}");
    // The way back is there still.
    env.proven().await?;
    write(&env.pair.target, 1, 1).await?;
    eventually("the stream delivers", async || {
        Ok(rows(&env.pair.source, 1).await? == 1)
    })
    .await?;
    env.engine().accept_source_writes("m").await?;
    let status = env.engine().complete("m", false).await?;
    is_in(&status, &State::Completed)
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_a_transaction_that_was_begun_before_a_look_is_counted_at_its_end() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(());
    }
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    let session = env.pair.source.client("orders").await?;
    session.batch_execute("BEGIN").await?;
    let sql = "INSERT INTO writes (id, client, number) OVERRIDING SYSTEM VALUE VALUES (-1, 9, 1)";
    session.execute(sql, &[]).await?;
    looked(&env, &session).await?;
    // Farther back than anybody reads again.
    let far = "SELECT pg_logical_emit_message(false, 'far', repeat('x', 6000000))";
    session.execute(far, &[]).await?;
    looked(&env, &session).await?;
    let status = env.engine().status("m")?;
    ensure!(
        status.migration.machine.left_source() == LeftSource::Quiet,
        "{}",
        story(&status)
    );
    session.batch_execute("COMMIT").await?;
    let status = disturbed(&env).await?;
    names(&status, "others committed 1 transaction (")
}

/// Role `repl` keeps its LOGIN in the bake: another standby streams by it. `None` where CONNECT keeps it
/// out of databases all the same.
async fn repl_keeps_its_login() -> Result<Option<(TestEnvironment, PostgresServer)>> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(None);
    }
    let mut env = TestEnvironment::new(Settings::default()).await?;
    let standby = violet_streams(&mut env).await?;
    let admin = env.pair.source.client("orders").await?;
    admin
        .batch_execute("GRANT INSERT ON writes TO repl")
        .await?;
    drop(admin);
    env.switched().await?;
    Ok(Some((env, standby)))
}

/// Some minor versions count a walsender for the limit of its database, and refuse it.
async fn enters_by_replication(source: &PostgresServer) -> Result<Option<Walsender>> {
    match source.walsender("repl", "orders").await {
        Ok(session) => Ok(Some(session)),
        Err(error) if error.to_string().contains("too many connections") => Ok(None),
        Err(error) => Err(error),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_what_a_walsender_writes_on_the_source_in_the_bake_is_named() -> Result<()> {
    let Some((env, _standby)) = repl_keeps_its_login().await? else {
        return Ok(());
    };
    let Some(mut session) = enters_by_replication(&env.pair.source).await? else {
        return Ok(());
    };
    let sql = "INSERT INTO writes (id, client, number) OVERRIDING SYSTEM VALUE VALUES (-1, 9, 1)";
    session.run(sql).await?;
    let status = disturbed(&env).await?;
    names(&status, " in orders)")
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_session_by_the_role_of_a_standby_is_ended_before_it_has_written() -> Result<()> {
    let Some((env, _standby)) = repl_keeps_its_login().await? else {
        return Ok(());
    };
    let Some(mut session) = enters_by_replication(&env.pair.source).await? else {
        return Ok(());
    };
    let seen = |status: &Status| {
        let watch = status.migration.facts.source_watch();
        watch.is_some_and(|watch| watch.to_string().contains("walsender"))
    };
    let status = env.until("the session is named", seen).await?;
    ensure!(
        status.migration.machine.left_source() == LeftSource::Quiet,
        "{}",
        story(&status)
    );
    let there =
        "SELECT FROM pg_stat_activity WHERE backend_type = 'walsender' AND datname = 'orders'";
    let admin = env.pair.source.client("postgres").await?;
    eventually("the session is ended", async || {
        Ok(admin.query(there, &[]).await?.is_empty())
    })
    .await?;
    let sql = "INSERT INTO writes (id, client, number) OVERRIDING SYSTEM VALUE VALUES (-1, 9, 1)";
    ensure!(session.run(sql).await.is_err(), "it goes on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_a_login_that_is_given_back_in_the_bake_is_taken_again() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(());
    }
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    let admin = env.pair.source.client("postgres").await?;
    admin.batch_execute("ALTER ROLE repl LOGIN").await?;
    drop(admin);
    let status = disturbed(&env).await?;
    names(&status, "repl can log in again")?;
    env.proven().await?;
    let admin = env.pair.source.client("postgres").await?;
    let row = admin
        .query_one(
            "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'repl'",
            &[],
        )
        .await?;
    ensure!(!row.get::<_, bool>(0), "it has its LOGIN");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_rules_that_are_loaded_behind_the_file_are_fenced_again() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(());
    }
    let env = TestEnvironment::new(Settings::default()).await?;
    let path = env.pair.source.data_folder().join("pg_hba.conf");
    let former = fs::read_to_string(&path)?;
    env.switched().await?;
    let fenced = fs::read_to_string(&path)?;
    // The look has read the file already, and the next one finds it as it was.
    let looks = env.source_gate.hold_at("pg_snapshot_xm");
    looks.within(SOON).await?;
    fs::write(&path, &former)?;
    let admin = env.pair.source.client("postgres").await?;
    let before = "SELECT clock_timestamp()::text";
    let before: String = admin.query_one(before, &[]).await?.get(0);
    admin.execute("SELECT pg_reload_conf()", &[]).await?;
    drop(admin);
    eventually("the former rules are loaded", async || {
        let session = env.pair.source.client("postgres").await?;
        let loaded = "SELECT pg_conf_load_time() >= $1::text::timestamptz";
        Ok(session.query_one(loaded, &[&before]).await?.get(0))
    })
    .await?;
    fs::write(&path, &fenced)?;
    env.source_gate.release();
    let status = disturbed(&env).await?;
    names(&status, "the rules that it has loaded")?;
    env.proven().await?;
    ensure!(fs::read_to_string(&path)? == fenced);
    let Err(refused) = write(&env.pair.source, 1, 1).await else {
        bail!("a stranger wrote");
    };
    println!("{refused:#}");
    Ok(())
}
