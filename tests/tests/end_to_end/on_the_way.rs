//! Clients that are logging in when the hold comes. No view of the server shows them before their
//! startup packet, and `pg_stat_activity` not before they are authenticated.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use pointsman_lab::{
    GateOptions, Lab, LabOptions,
    gate::Gate,
    postgres::Hosting,
    workload::{Login, Session},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::support::{CLOSING, NAME, POLL, SOON, Verb, options, prepare};

/// The control plane looks at the source in vain, again and again.
async fn the_fence_waits(lab: &Lab) -> Result<()> {
    let (until, mut seen) = (Instant::now() + SOON, BTreeSet::new());
    let session = lab.pair.source.client("postgres").await?;
    while seen.len() < 5 {
        let looks = session.query(LOOKS, &[]).await?;
        seen.extend(looks.iter().map(|row| row.get::<_, String>(0)));
        ensure!(
            Instant::now() < until,
            "nobody looks at the source: {seen:?}"
        );
        sleep(POLL).await;
    }
    Ok(())
}

/// When the control role last asked who comes in.
const LOOKS: &str = "SELECT query_start::text FROM pg_stat_activity \
     WHERE query LIKE '%AS logging_in%' AND pid <> pg_backend_pid()";

/// A client on its way to `server`, held where it sends `stuck_at` while the switch begins. It is
/// let in and has a write acknowledged before the fence comes.
async fn is_waited_for(
    options: LabOptions,
    server: impl Fn(&Lab) -> SocketAddr,
    stuck_at: &str,
) -> Result<()> {
    let settings = "[hold]\nbudget_ms = 30000\nlogin_ms = 10000\n".to_owned();
    let lab = Lab::start(LabOptions {
        settings,
        ..options
    })
    .await?;
    prepare(&lab).await?;
    let gate = Gate::start(server(&lab)).await?;
    let stuck = gate.hold_at(stuck_at);
    let (hosting, address) = (lab.pair.source.hosting(), gate.address());
    let login = Login {
        user: "app".to_owned(),
        password: hosting.password("app"),
        tls: lab.pair.source.client_tls()?,
        datname: lab.databases[0].name.clone(),
        application_name: "newcomer".to_owned(),
    };
    let mut client = JoinSet::new();
    client.spawn(async move { Session::open(address, &login, SOON).await });
    stuck.within(SOON).await?;

    let source_gate = lab.gates.source_control.as_ref().context("no gate")?;
    let closing = source_gate.hold_at(CLOSING);
    let switch = Verb::begin(&lab, &["migration", "switch", NAME])?;
    let fence = closing.within(SOON);
    tokio::pin!(fence);
    tokio::select! {
        caught = &mut fence => {
            caught?;
            bail!("the fence comes while somebody logs in");
        }
        looked = the_fence_waits(&lab) => looked?,
    }
    gate.release();
    let session = client.join_next().await.context("it has ended")??;
    let session = session.map_err(|error| anyhow::anyhow!("{}", error.message))?;
    let insert = "INSERT INTO writes (client, number) VALUES (1, 1)";
    session.client().execute(insert, &[]).await?;
    drop(session);
    fence.await?;
    source_gate.release();
    let switched = timeout(SOON, switch.ended()).await??;
    ensure!(switched.code == Some(0), "{switched:?}");
    Ok(())
}

fn gated() -> GateOptions {
    GateOptions {
        source_control: true,
        ..GateOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_not_sent_its_startup_packet_is_waited_for() -> Result<()> {
    let by_sidecar = |lab: &Lab| lab.writer(0, &lab.databases[0]);
    is_waited_for(options(gated()), by_sidecar, "").await
}

/// No sidecar knows of it: the server alone shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_authentication_is_waited_for() -> Result<()> {
    let managed = LabOptions {
        hosting: Hosting::Managed,
        server_settings: pointsman_tests::demo::NO_AUTOVACUUM.to_owned(),
        fence: "sql".to_owned(),
        ..options(gated())
    };
    let without_sidecar = |lab: &Lab| lab.pair.source.address();
    is_waited_for(managed, without_sidecar, "SCRAM-SHA-256").await
}
