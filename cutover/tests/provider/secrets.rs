//! The password of the reverse stream, and everything that a server can be told to write down.

use std::{
    cell::RefCell,
    fs,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use pointsman_catalog::{Conninfo, FenceLevel, PasswordSource};
use pointsman_cutover::ports::SubscriptionSpec;
use pointsman_lab::{
    ports::Port,
    postgres::Hosting,
    process::{Signal, signal_all},
};
use tokio::time::sleep;

use crate::{
    pair::{MOVING, Pair, until},
    verbs::{SOON, moving, prepared, subscriptions},
    way::{moved_forward, primed_and_opened},
};

const PASSWORD: &str = "a'secret\\\\of the zebra";

const LOGGED: &str = "\
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = all
log_statement = all
log_min_duration_statement = 0
log_min_error_statement = info
log_error_verbosity = verbose
log_parameter_max_length_on_error = -1
";

const HBA: &str = "\
local all all trust
host replication postgres 127.0.0.1/32 trust
host all repl 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
";

#[tokio::test]
async fn the_password_of_the_reverse_stream_is_in_no_log_and_no_statistics() {
    // Only a superuser may tell that module not to record statements inside of others.
    let logged = match Hosting::from_environment().unwrap() {
        Hosting::SelfManaged => LOGGED.to_owned(),
        Hosting::Managed => LOGGED.replace("track = all", "track = top"),
    };
    let pair = Pair::start_with(FenceLevel::Sql, &logged, HBA).await;
    set_password(&pair).await;
    let (source, target, exempt) = prepared(&pair).await;
    let (record, since) = moved_forward(&source, &target, &exempt).await;
    let slots = primed_and_opened(&target, &record, &since, &exempt).await;
    let specs = with_password(&pair, subscriptions(&pair, &slots));
    let subscriber = source.reverse_subscriber().unwrap();

    let failed = subscriber.arm(&unreachable(&specs)).await.unwrap_err();
    let failed = format!("{failed} {failed:?}");
    assert!(failed.contains("could not connect"), "{failed}");
    assert_absent(&failed, "the error");

    subscriber.arm(&specs).await.unwrap();
    for datname in moving() {
        let probe = target.probe_table().unwrap();
        probe.write_probe(&datname, 7).await.unwrap();
        until("the probe row over the reverse stream", async || {
            let probe = source.probe_table().unwrap().read_probe(&datname);
            probe.await.unwrap() == Some(7)
        })
        .await;
    }
    for (server, of) in [(&pair.source, "the source"), (&pair.target, "the target")] {
        assert_absent(&server.log(), &format!("the log of {of}"));
    }
    let statements = "SELECT string_agg(query, '; ') FROM pg_stat_statements";
    let statements = pair
        .source
        .connect(pair.source.superuser(), MOVING[0])
        .await
        .unwrap()
        .ask(statements)
        .await;
    assert_absent(&statements, "pg_stat_statements");
    for shown in [&pair.source.log(), &statements] {
        assert!(
            shown.contains("COPY pg_temp.pointsman_publisher"),
            "it writes nothing down"
        );
    }
}

/// A firewall that drops packets is enough: the statement that holds the password is under way until
/// it is cancelled, or until the session is ended by the next leader or by somebody else.
#[tokio::test]
async fn the_password_is_in_no_log_when_the_publisher_is_silent() {
    let logged = "log_statement = all\nlog_error_verbosity = verbose\n";
    let pair = Pair::start_with(FenceLevel::Sql, logged, HBA).await;
    set_password(&pair).await;
    let (source, target, exempt) = prepared(&pair).await;
    let (record, since) = moved_forward(&source, &target, &exempt).await;
    let slots = primed_and_opened(&target, &record, &since, &exempt).await;
    // Nobody answers there.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let mut kept = Vec::new();
    let port = silent.local_addr().unwrap().port();
    let specs = to_port(&with_password(&pair, subscriptions(&pair, &slots)), port);
    let subscriber = source.reverse_subscriber().unwrap();

    let failed = subscriber.arm(&specs).await.unwrap_err();
    assert_absent(&format!("{failed} {failed:?}"), "the error");
    assert_absent(&pair.source.log(), "the log behind a timeout");

    let (ended, ()) = tokio::join!(subscriber.arm(&specs), async {
        under_way(&silent, &mut kept).await;
        pair.source.attach(9).await;
    });
    ended.unwrap_err();
    assert_absent(&pair.source.log(), "the log behind a new leader");

    let source = pair.source.attach(10).await;
    let subscriber = source.reverse_subscriber().unwrap();
    let (ended, ()) = tokio::join!(subscriber.arm(&specs), async {
        under_way(&silent, &mut kept).await;
        // On a busy machine a backend hears late, and all at once, what it was told.
        let frozen = subscribing(&pair).await;
        signal_all(Signal::Stop, &frozen);
        tokio::join!(pair.source.attach(11), async {
            sleep(Duration::from_millis(1_500)).await;
            signal_all(Signal::Cont, &frozen);
        });
    });
    ended.unwrap_err();
    assert_absent(
        &pair.source.log(),
        "the log behind a new leader that waited",
    );

    let source = pair.source.attach(12).await;
    let subscriber = source.reverse_subscriber().unwrap();
    tokio::select! {
        ended = subscriber.arm(&specs) => panic!("{ended:?}"),
        () = under_way(&silent, &mut kept) => {}
    }
    source
        .sessions()
        .unwrap()
        .end_sessions(&[], SOON)
        .await
        .unwrap();
    assert_absent(
        &pair.source.log(),
        "the log behind an attempt that was given up",
    );

    if Hosting::from_environment().unwrap() == Hosting::SelfManaged {
        let source = pair.source.attach(13).await;
        let subscriber = source.reverse_subscriber().unwrap();
        let (ended, ()) = tokio::join!(subscriber.arm(&specs), async {
            under_way(&silent, &mut kept).await;
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE wait_event ~* '^libpqwalreceiver'";
            pair.source.execute("postgres", end).await;
        });
        ended.unwrap_err();
        let log = pair.source.log();
        assert!(log.contains("57P01"), "no session was ended");
        assert_absent(&log, "the log behind a termination");
    }
}

/// It hears no cancellation while it waits for the row, and the row never comes.
#[tokio::test]
async fn a_former_leader_that_was_cut_off_before_it_sent_the_password_is_ended() {
    let pair = Pair::start(FenceLevel::Sql).await;
    prepared(&pair).await;
    let control = Conninfo::parse(&pair.source.server().control).unwrap();
    let conninfo = pair
        .source
        .conninfo_as(control.get("user").unwrap(), "postgres");
    let former = pointsman_lab::postgres::connect(&conninfo).await.unwrap();
    let begin = "SET application_name = 'pointsman/m/7'; BEGIN; CREATE TEMP TABLE pointsman_publisher (padding text, conninfo text)";
    former.batch_execute(begin).await.unwrap();
    let copy = "/* pointsman: connection string */ COPY pg_temp.pointsman_publisher FROM STDIN";
    let _never_sent = former.copy_in::<_, bytes::Bytes>(copy).await.unwrap();
    pair.source.attach(8).await;
    assert!(former.simple_query("SELECT 1").await.is_err());
}

/// The backends that wait for their publisher.
async fn subscribing(pair: &Pair) -> Vec<u32> {
    let superuser = pair.source.superuser();
    let session = pair.source.connect(superuser, "postgres").await.unwrap();
    let pids = "SELECT coalesce(string_agg(pid::text, ' '), '') FROM pg_stat_activity \
                WHERE wait_event ~* '^libpqwalreceiver'";
    let found = RefCell::new(String::new());
    until("a backend waits for its publisher", async || {
        *found.borrow_mut() = session.ask(pids).await;
        !found.borrow().is_empty()
    })
    .await;
    let pids = found.into_inner();
    pids.split(' ').map(|pid| pid.parse().unwrap()).collect()
}

/// Waits until the statement that subscribes has connected to its publisher; later connections
/// count for the next wait alone.
async fn under_way(silent: &TcpListener, kept: &mut Vec<TcpStream>) {
    while let Ok((old, _)) = silent.accept() {
        kept.push(old);
    }
    let found = RefCell::new(Vec::new());
    until("the statement connects to its publisher", async || {
        match silent.accept() {
            Ok((connected, _)) => found.borrow_mut().push(connected),
            Err(_nobody) => return false,
        }
        true
    })
    .await;
    kept.extend(found.into_inner());
}

fn with_password(pair: &Pair, mut specs: Vec<SubscriptionSpec>) -> Vec<SubscriptionSpec> {
    let file = pair.scratch.path().join("password");
    fs::write(&file, PASSWORD).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for spec in &mut specs {
        spec.publisher.replication_password = Some(PasswordSource::File(file.clone()));
    }
    specs
}

fn to_port(specs: &[SubscriptionSpec], port: u16) -> Vec<SubscriptionSpec> {
    let mut specs = specs.to_vec();
    for spec in &mut specs {
        spec.publisher.replication = Some(format!("host=127.0.0.1 port={port} user=repl"));
    }
    specs
}

fn unreachable(specs: &[SubscriptionSpec]) -> Vec<SubscriptionSpec> {
    let port = Port::reserve().unwrap();
    to_port(specs, port.number())
}

/// The password itself, quoted as a literal or as a value of a connection string, and its middle.
fn assert_absent(text: &str, place: &str) {
    assert!(!text.contains("of the zebra"), "the password is in {place}");
}

/// The statement that sets it is the test's own, and is kept out of the logs.
async fn set_password(pair: &Pair) {
    pair.source
        .execute(MOVING[0], "CREATE EXTENSION pg_stat_statements")
        .await;
    let superuser = pair.source.superuser();
    let session = pair.source.connect(superuser, "postgres").await.unwrap();
    for setting in [
        "SET log_statement = none",
        "SET log_min_duration_statement = -1",
        "SET pg_stat_statements.track = none",
    ] {
        session.run(setting).await;
    }
    let quoted = PASSWORD.replace('\'', "''");
    session
        .run(&format!("ALTER ROLE repl PASSWORD '{quoted}'"))
        .await;
}
