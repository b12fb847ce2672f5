//! What the lab guarantees: processes end with it, gates and pairs do what they say.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result};
use pointsman_lab::{
    Lab, LabOptions,
    envoy::Envoy,
    gate::Gate,
    ports::Port,
    postgres::{self, Hosting, PairOptions, PostgresPair, PromotionApi, PromotionStage},
    process,
    scratch::Scratch,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
    time::{Instant, sleep, timeout},
};

const SOON: Duration = Duration::from_secs(10);

/// A victim that nobody kills ends by itself.
const VICTIM_LIFE: Duration = Duration::from_secs(60);

/// Waits until `holds`, which is asked again and again.
async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn count(server: &postgres::PostgresServer) -> Result<i64> {
    let session = server.client("orders").await?;
    let row = session
        .query_one("SELECT count(*) FROM writes", &[])
        .await?;
    Ok(row.get(0))
}

async fn write(server: &postgres::PostgresServer, number: i64) -> Result<()> {
    let session = server.client_as("app", "orders").await?;
    session
        .execute(
            "INSERT INTO writes (client, number) VALUES (1, $1)",
            &[&number],
        )
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_pair_replicates_and_survives_a_crash() -> Result<()> {
    let scratch = Scratch::new()?;
    let began = Instant::now();
    let pair = PostgresPair::start(scratch.path(), &PairOptions::default()).await?;
    println!("a pair took {:?}", began.elapsed());

    write(&pair.source, 1).await?;
    eventually("the row is on the standby", async || {
        count(&pair.target).await.is_ok_and(|rows| rows == 1)
    })
    .await;

    pair.source.crash().await?;
    pair.source.start().await?;
    write(&pair.source, 2).await?;
    eventually("the standby follows again", async || {
        count(&pair.target).await.is_ok_and(|rows| rows == 2)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_frozen_server_answers_nothing_until_it_is_thawed() -> Result<()> {
    let scratch = Scratch::new()?;
    let pair = PostgresPair::start(scratch.path(), &PairOptions::default()).await?;
    pair.source.freeze();
    let frozen = timeout(Duration::from_millis(300), pair.source.client("postgres")).await;
    assert!(frozen.is_err(), "a frozen server answered");
    pair.source.thaw();
    pair.source.client("postgres").await?;
    Ok(())
}

/// The control role's sessions, those of the lab itself left out.
async fn as_master(server: &postgres::PostgresServer, database: &str) -> Result<postgres::Session> {
    let control = server.control(server.address());
    postgres::connect(&format!("{control} dbname={database}")).await
}

#[tokio::test]
async fn a_managed_pair_gives_its_users_no_superuser() -> Result<()> {
    let scratch = Scratch::new()?;
    let options = PairOptions {
        hosting: Hosting::Managed,
        ..PairOptions::default()
    };
    let pair = PostgresPair::start(scratch.path(), &options).await?;
    let master = as_master(&pair.source, "orders").await?;
    let text = async |sql: &str| -> Result<String> {
        Ok(master.query_one(sql, &[]).await?.get::<_, String>(0))
    };
    let superusers = "SELECT string_agg(rolname::text, ' ') FROM pg_roles WHERE rolsuper";
    assert_eq!(text(superusers).await?, "rdsadmin");
    let owned = "SELECT string_agg(datname::text, ' ' ORDER BY datname) FROM pg_database \
                 WHERE pg_get_userbyid(datdba) = current_user";
    assert_eq!(text(owned).await?, "billing orders postgres template1");
    assert_eq!(
        text("SELECT current_setting('wal_segment_size')").await?,
        "64MB"
    );

    // What needs a superuser, and what does not.
    for forbidden in [
        "SELECT pg_read_file('pg_hba.conf')",
        "SELECT * FROM pg_hba_file_rules",
        "SELECT pg_promote()",
        "ALTER SYSTEM SET work_mem = '5MB'",
        "ALTER DATABASE rdsadmin ALLOW_CONNECTIONS false",
    ] {
        let refused = master.batch_execute(forbidden).await;
        let code = refused
            .unwrap_err()
            .code()
            .map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}");
    }
    master
        .batch_execute("ALTER DATABASE billing ALLOW_CONNECTIONS false; SELECT FROM writes")
        .await?;
    assert!(as_master(&pair.source, "rdsadmin").await.is_err());

    let beats = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'rdsadmin'";
    let beats =
        async || Ok::<_, anyhow::Error>(master.query_one(beats, &[]).await?.get::<_, i64>(0));
    let before = beats().await?;
    eventually("rdsadmin writes by itself", async || {
        beats().await.is_ok_and(|now| now > before + 1)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_pair_with_tls_takes_nothing_else_over_tcp() -> Result<()> {
    for hosting in [Hosting::SelfManaged, Hosting::Managed] {
        let scratch = Scratch::new()?;
        let options = PairOptions {
            hosting,
            tls: true,
            ..PairOptions::default()
        };
        let pair = PostgresPair::start(scratch.path(), &options).await?;
        let source = &pair.source;
        let session = source.client("postgres").await?;
        let unencrypted = "SELECT count(*) FROM pg_stat_replication JOIN pg_stat_ssl USING (pid) \
                           WHERE NOT ssl";
        assert_eq!(
            session.query_one(unencrypted, &[]).await?.get::<_, i64>(0),
            0
        );
        let at = source.address();
        let plain = format!(
            "host={} port={} user={} password={} dbname=postgres",
            at.ip(),
            at.port(),
            hosting.control_role(),
            hosting.password(hosting.control_role()).unwrap_or_default()
        );
        let refused = postgres::connect(&plain).await.map(|_| ()).unwrap_err();
        assert!(
            format!("{refused:?}").contains("no encryption"),
            "{refused:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_promotion_by_the_api_is_slow_happens_once_and_ends_every_session() -> Result<()> {
    let scratch = Scratch::new()?;
    let options = PairOptions {
        hosting: Hosting::Managed,
        ..PairOptions::default()
    };
    let pair = PostgresPair::start(scratch.path(), &options).await?;
    let reader = as_master(&pair.target, "orders").await?;
    let api = PromotionApi::new(&pair.target, Duration::from_millis(500));
    assert_eq!(api.stage(), PromotionStage::NotAsked);
    let asked = Instant::now();
    api.request().map_err(anyhow::Error::msg)?;
    assert!(api.request().is_err(), "a second request was taken");
    assert_eq!(api.stage(), PromotionStage::UnderWay);
    // It is a standby meanwhile, and goes on replaying.
    let standby = "SELECT pg_is_in_recovery()";
    assert!(reader.query_one(standby, &[]).await?.get::<_, bool>(0));
    write(&pair.source, 1).await?;
    eventually("the promotion is through", async || {
        api.stage() == PromotionStage::Available
    })
    .await;
    assert!(asked.elapsed() >= Duration::from_millis(500));
    assert!(
        reader.query_one(standby, &[]).await.is_err(),
        "a session survived"
    );
    assert_eq!(count(&pair.target).await?, 1);
    write(&pair.target, 2).await?;
    assert_eq!(api.requests(), 2);
    Ok(())
}

#[tokio::test]
async fn standbys_and_strangers_differ_by_their_system_identifier() -> Result<()> {
    let scratch = Scratch::new()?;
    let pair = PostgresPair::start(scratch.path(), &PairOptions::default()).await?;
    let third = postgres::start_standby("red", scratch.path(), &pair.source).await?;
    let stranger = postgres::start_stranger("grey", scratch.path(), &["orders".to_owned()]).await?;
    let identifier = async |server: &postgres::PostgresServer| -> Result<i64> {
        let question = "SELECT system_identifier FROM pg_control_system()";
        let session = server.client("postgres").await?;
        Ok(session.query_one(question, &[]).await?.get(0))
    };
    assert_eq!(identifier(&pair.source).await?, identifier(&third).await?);
    assert_ne!(
        identifier(&pair.source).await?,
        identifier(&stranger).await?
    );
    Ok(())
}

#[tokio::test]
async fn the_replication_gate_keeps_the_standby_behind() -> Result<()> {
    let scratch = Scratch::new()?;
    let options = PairOptions {
        gate_replication: true,
        ..PairOptions::default()
    };
    let pair = PostgresPair::start(scratch.path(), &options).await?;
    let gate = pair.replication.as_ref().context("no gate")?;
    gate.sever();
    write(&pair.source, 1).await?;
    assert_eq!(count(&pair.target).await?, 0);
    gate.restore();
    eventually("the standby catches up", async || {
        count(&pair.target).await.is_ok_and(|rows| rows == 1)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_gate_holds_a_statement_until_it_is_released_though_its_client_has_left() -> Result<()> {
    let scratch = Scratch::new()?;
    let pair = PostgresPair::start(scratch.path(), &PairOptions::default()).await?;
    let gate = Gate::start(pair.source.address()).await?;
    let through = format!(
        "host=127.0.0.1 port={} user=app dbname=orders",
        gate.address().port()
    );
    let late = postgres::connect(&through).await?;
    let caught = gate.hold_at("INSERT INTO writes");

    late.simple_query("SELECT 1").await?;
    let insert = "INSERT INTO writes (client, number) VALUES (1, 1)";
    let held = timeout(Duration::from_secs(1), late.simple_query(insert));
    let (held, caught) = tokio::join!(held, caught.within(SOON));
    caught?;
    assert!(held.is_err(), "the statement passed");
    drop(late);
    let other = postgres::connect(&through).await?;
    other.simple_query("SELECT 1").await?;
    assert_eq!(count(&pair.source).await?, 0);

    gate.release();
    eventually("the late statement has its effect", async || {
        count(&pair.source).await.is_ok_and(|rows| rows == 1)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_gate_holds_the_answer_to_a_statement_that_had_its_effect() -> Result<()> {
    let scratch = Scratch::new()?;
    let pair = PostgresPair::start(scratch.path(), &PairOptions::default()).await?;
    let gate = Gate::start(pair.source.address()).await?;
    let through = format!(
        "host=127.0.0.1 port={} user=app dbname=orders",
        gate.address().port()
    );
    let session = postgres::connect(&through).await?;
    let caught = gate.hold_answer_to("INSERT INTO writes");
    let insert = session.simple_query("INSERT INTO writes (client, number) VALUES (1, 1)");
    tokio::pin!(insert);

    let (answer, caught) = tokio::join!(
        timeout(Duration::from_secs(1), &mut insert),
        caught.within(SOON)
    );
    caught?;
    assert!(answer.is_err(), "the answer passed");
    eventually("the row is there", async || {
        count(&pair.source).await.is_ok_and(|rows| rows == 1)
    })
    .await;
    gate.release();
    timeout(SOON, insert).await??;
    Ok(())
}

/// Sends back what it is sent, for ever.
async fn echo(listener: TcpListener) {
    loop {
        if let Ok((mut client, _)) = listener.accept().await {
            let (mut from, mut to) = client.split();
            // One client at a time is enough here.
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    }
}

#[tokio::test]
async fn a_severed_gate_closes_open_and_new_connections() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let gate = Gate::start(listener.local_addr()?).await?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(echo(listener));
    let mut buffer = [0; 1];

    let mut open = TcpStream::connect(gate.address()).await?;
    open.write_all(b"x").await?;
    timeout(SOON, open.read_exact(&mut buffer)).await??;
    gate.sever();
    let read = timeout(SOON, open.read(&mut buffer)).await?;
    assert!(matches!(read, Ok(0) | Err(_)), "the connection lives");

    let mut new = TcpStream::connect(gate.address()).await?;
    let read = timeout(SOON, new.read(&mut buffer)).await?;
    assert!(matches!(read, Ok(0) | Err(_)), "a new one lives");

    gate.restore();
    let mut new = TcpStream::connect(gate.address()).await?;
    new.write_all(b"x").await?;
    timeout(SOON, new.read_exact(&mut buffer)).await??;
    Ok(())
}

#[tokio::test]
async fn a_black_hole_accepts_and_answers_nothing_and_ends_its_connections() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let gate = Gate::start(listener.local_addr()?).await?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(echo(listener));
    let mut buffer = [0; 1];

    gate.black_hole();
    let mut lost = TcpStream::connect(gate.address()).await?;
    lost.write_all(b"x").await?;
    let silence = timeout(Duration::from_millis(200), lost.read(&mut buffer)).await;
    assert!(silence.is_err(), "something answered");
    gate.restore();
    let read = timeout(SOON, lost.read(&mut buffer)).await?;
    assert!(
        matches!(read, Ok(0) | Err(_)),
        "half a conversation lives on"
    );
    Ok(())
}

/// A stream without its middle is no cut of a network: TCP gives what was sent, in order, or ends.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_behind_what_a_black_hole_has_swallowed() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let gate = Gate::start(listener.local_addr()?).await?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(count_up(listener));
    for _ in 0..20 {
        let mut client = TcpStream::connect(gate.address()).await?;
        client.read_u32().await?;
        gate.black_hole();
        let before = gate.received();
        eventually("something is swallowed", async || {
            gate.received() > before + 50_000
        })
        .await;
        gate.restore();
        let mut expected = 1;
        while let Ok(Ok(number)) = timeout(SOON, client.read_u32()).await {
            assert_eq!(number, expected, "a gap");
            expected += 1;
        }
    }
    Ok(())
}

/// Sends each client 0, 1, 2, … until it has gone.
async fn count_up(listener: TcpListener) {
    let mut clients = tokio::task::JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        clients.spawn(async move {
            let mut number = 0;
            while client.write_u32(number).await.is_ok() {
                number += 1;
            }
        });
    }
}

/// An Envoy that has nothing to do.
async fn start_sidecar(scratch: &Scratch) -> Result<Envoy> {
    let admin = Port::reserve()?;
    let bootstrap = format!(
        r#"{{"node": {{"id": "sc1", "cluster": "dal"}},
            "admin": {{"address": {{"socket_address":
                {{"address": "127.0.0.1", "port_value": {}}}}}}}}}"#,
        admin.number()
    );
    Envoy::start("sc1", scratch.path(), &bootstrap, admin).await
}

#[tokio::test]
async fn a_sidecar_answers_on_its_admin_interface_and_can_be_killed_and_restarted() -> Result<()> {
    let scratch = Scratch::new()?;
    let mut sidecar = start_sidecar(&scratch).await?;
    assert_eq!(sidecar.stat("server.live").await?, Some(1));
    assert_eq!(sidecar.stat("no.such.statistic").await?, None);
    sidecar.listening(sidecar.admin()).await?;

    sidecar.freeze();
    let frozen = timeout(Duration::from_millis(200), sidecar.get("/ready")).await;
    assert!(frozen.is_err(), "a frozen Envoy answered");
    sidecar.thaw();
    sidecar.get("/ready").await?;

    sidecar.kill().await?;
    assert!(TcpStream::connect(sidecar.admin()).await.is_err());
    sidecar.restart().await?;
    Ok(())
}

/// Not a test of its own: the victim of the next one, which runs it in a process apart.
#[tokio::test]
#[ignore = "is run by nothing_outlives_a_killed_lab"]
async fn a_lab_that_waits_to_be_killed() -> Result<()> {
    let scratch = Scratch::new()?;
    let pair = PostgresPair::start(scratch.path(), &PairOptions::default()).await?;
    let sidecar = start_sidecar(&scratch).await?;
    let pids = [pair.source.pid(), pair.target.pid(), sidecar.pid()];
    let pids = pids.map(|pid| pid.unwrap().to_string());
    println!("pids {}", pids.join(" "));
    sleep(VICTIM_LIFE).await;
    Ok(())
}

#[tokio::test]
async fn nothing_outlives_a_killed_lab() -> Result<()> {
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("a_lab_that_waits_to_be_killed")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = victim.stdout.take().context("no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let pids: Vec<u32> = loop {
        let line = timeout(6 * SOON, lines.next_line()).await??;
        let line = line.context("the victim ended")?;
        if let Some((_, pids)) = line.split_once("pids ") {
            break pids.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        }
    };
    assert!(pids.iter().all(|pid| process::is_alive(*pid)));
    victim.kill().await?;
    eventually("the servers are gone", async || {
        !pids.iter().any(|pid| process::is_alive(*pid))
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_lab_serves_every_database_through_every_sidecar() -> Result<()> {
    let began = Instant::now();
    let mut lab = Lab::start(LabOptions::default()).await?;
    println!("a lab took {:?}", began.elapsed());
    for number in 0..3 {
        for database in &lab.databases {
            for at in [lab.writer(number, database), lab.reader(number, database)] {
                let conninfo = format!(
                    "host={} port={} user=app dbname={}",
                    at.ip(),
                    at.port(),
                    database.name
                );
                let session = postgres::connect(&conninfo).await?;
                session.simple_query("SELECT FROM writes").await?;
            }
        }
    }
    lab.control_plane.kill9().await?;
    lab.control_plane.restart().await?;
    lab.synced().await?;
    assert!(lab.control_plane.stop().await?.success());
    Ok(())
}
