//! A lab with clients at work and a migration that is ready to switch.

use std::{
    net::SocketAddr,
    process::{Output as ProcessOutput, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::join_all;
use pointsman_lab::{
    GateOptions, Lab, LabOptions,
    control_plane::Output,
    gate::{Caught, Gate},
    postgres::PostgresServer,
    workload::{ConnectError, Login, Moment, Record, Session, Workload, WorkloadOptions, verify},
};
use pointsman_tests::migration::MigrationStatus;
use serde_json::Value;
use tokio::{process::Child, time::timeout};

/// The migration, from `blue` to `green`.
pub(crate) const NAME: &str = "m";
/// The transaction that closes a server; it stands in one message.
pub(crate) const CLOSING: &str = "ALTER DATABASE \"orders\" ALLOW_CONNECTIONS false";
/// The last thing that the fence writes.
pub(crate) const MARKER: &str = "pg_logical_emit_message(true, 'pointsman.fence'";
/// The statement whose intent is the point of no return.
pub(crate) const PROMOTION: &str = "THEN pg_promote";

/// Making a slot of the reverse stream: its statement is prepared long before, so only the name
/// of the slot, with the number of its database, tells when it runs.
pub(crate) const SLOT: &str = "pointsman_rb_1";

/// No wait of a test may last longer; none says anything about speed.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Between two looks at what takes its time.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Two sidecars are enough for one to differ from the other.
pub(crate) fn options(gates: GateOptions) -> LabOptions {
    LabOptions {
        sidecars: 2,
        gates,
        ..LabOptions::default()
    }
}

/// [`options`] with a hold of `budget`.
pub(crate) fn short_hold(budget: Duration, gates: GateOptions) -> LabOptions {
    LabOptions {
        settings: format!("[hold]\nbudget_ms = {}\n", budget.as_millis()),
        ..options(gates)
    }
}

/// A lab under load. Half of the clients keep their session, half reconnect for each write.
pub(crate) struct TestEnvironment {
    pub(crate) workload: Workload,
    pub(crate) lab: Lab,
}

/// A verb of the command line that is under way.
pub(crate) struct Verb(Child);

impl TestEnvironment {
    /// Everything is up, clients write and read, and migration [`NAME`] can be switched.
    pub(crate) async fn ready(options: LabOptions) -> Result<Self> {
        let env = Self::at_work(options).await?;
        env.prepare().await?;
        Ok(env)
    }

    /// Everything is up, clients write and read.
    pub(crate) async fn at_work(options: LabOptions) -> Result<Self> {
        let lab = Lab::start(options).await?;
        let workload = Workload::start(&workload_options(&lab)?)?;
        workload.more_acked(50, SOON).await?;
        Ok(Self { workload, lab })
    }

    /// Creates, checks and starts the migration.
    pub(crate) async fn prepare(&self) -> Result<()> {
        prepare(&self.lab).await
    }

    /// Switches, which is to succeed, and waits until every client is served by the target.
    pub(crate) async fn switch(&self) -> Result<()> {
        let asked = self.now();
        self.cli_ok(&["migration", "switch", NAME]).await?;
        self.served_by(&self.lab.pair.target, asked).await
    }

    /// Rolls back, which is to succeed, and waits until every client is served by the source.
    pub(crate) async fn roll_back(&self) -> Result<()> {
        let asked = self.now();
        self.cli_ok(&["migration", "rollback", NAME]).await?;
        self.served_by(&self.lab.pair.source, asked).await
    }

    /// Waits for the proof that the way back is lossless.
    pub(crate) async fn proven(&self) -> Result<()> {
        self.until("the reverse stream is proven", |status| {
            status["reverse_stream"] == "proven"
        })
        .await?;
        Ok(())
    }

    /// Begins a verb, which ends with the control plane if that is killed.
    pub(crate) fn begin(&self, args: &[&str]) -> Result<Verb> {
        Verb::begin(&self.lab, args)
    }

    pub(crate) fn begin_switch(&self) -> Result<Verb> {
        self.begin(&["migration", "switch", NAME])
    }

    /// Begins a switch and waits until a gate has caught it.
    pub(crate) async fn switch_until(&self, caught: Caught) -> Result<Verb> {
        let mut switch = self.begin_switch()?;
        tokio::select! {
            caught = caught.within(SOON) => caught?,
            ended = switch.0.wait() => {
                ended?;
                bail!("not caught: {:?}", switch.ended().await?);
            }
        }
        Ok(switch)
    }

    /// Runs a verb to its end and shows what it said.
    pub(crate) async fn cli(&self, args: &[&str]) -> Result<Output> {
        let output = self.lab.control_plane.cli(args).await?;
        show(&args.join(" "), &output);
        Ok(output)
    }

    pub(crate) async fn cli_ok(&self, args: &[&str]) -> Result<()> {
        let output = self.cli(args).await?;
        ensure!(output.code == Some(0), "{args:?}: {output:?}");
        Ok(())
    }

    /// Waits until the status of the migration satisfies `holds`.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let reached = self.lab.migration_until(NAME, SOON, holds).await;
        reached.with_context(|| format!("waiting until {what}"))
    }

    /// Waits until nothing is under way, and expects to find the migration in `state`.
    pub(crate) async fn settled(&self, state: &str) -> Result<MigrationStatus> {
        let settled = self.until("the switch has ended", has_ended).await?;
        ensure!(settled["state"] == state, "not {state}: {settled:#}");
        Ok(serde_json::from_value(settled)?)
    }

    /// The gate between the control plane and the source.
    pub(crate) fn source_gate(&self) -> Result<&Gate> {
        let gate = self.lab.gates.source_control.as_ref();
        gate.context("no gate before the source")
    }

    /// The gate between the control plane and the target.
    pub(crate) fn target_gate(&self) -> Result<&Gate> {
        let gate = self.lab.gates.target_control.as_ref();
        gate.context("no gate before the target")
    }

    /// The gate between sidecar 1 and the control plane.
    pub(crate) fn xds_gate(&self) -> Result<&Gate> {
        let gate = self.lab.gates.xds.as_ref();
        gate.context("no gate before the control plane")
    }

    pub(crate) fn now(&self) -> Moment {
        self.workload.clock().now()
    }

    /// Waits until every client has been served by `server` since `since`.
    pub(crate) async fn served_by(&self, server: &PostgresServer, since: Moment) -> Result<()> {
        let port = server.address().port();
        self.workload.all_through(port, since, SOON).await
    }

    /// Stops the clients and holds what they know against the tables of the serving writer.
    pub(crate) async fn nothing_is_lost_on(
        self,
        server: impl FnOnce(&Lab) -> &PostgresServer,
    ) -> Result<(Lab, Record)> {
        let Self { workload, lab } = self;
        let record = workload.stop(SOON).await?;
        let verdict = verify::check(&record, server(&lab)).await?;
        tell(&format!(
            "{} writes acknowledged, {} were in doubt: {verdict}",
            record.acked_writes(),
            record.in_doubt_writes()
        ));
        ensure!(verdict.is_clean(), "{verdict}");
        Ok((lab, record))
    }
}

/// Creates, checks and starts migration [`NAME`].
pub(crate) async fn prepare(lab: &Lab) -> Result<()> {
    let control_plane = &lab.control_plane;
    let (source, target) = (lab.pair.source.name(), lab.pair.target.name());
    let create = ["migration", "create", NAME, "--source", source];
    let create: Vec<_> = create.into_iter().chain(["--target", target]).collect();
    control_plane.cli_ok(&create).await?;
    let checks = control_plane.cli(&["migration", "preflight", NAME]).await?;
    ensure!(
        matches!(checks.code, Some(0 | 2)),
        "preflight blocks: {}{}",
        checks.stdout,
        checks.stderr
    );
    control_plane.cli_ok(&["migration", "start", NAME]).await?;
    Ok(())
}

impl Verb {
    /// Begins one, which ends with the control plane if that is killed.
    pub(crate) fn begin(lab: &Lab, args: &[&str]) -> Result<Self> {
        let mut command = lab.control_plane.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(command.spawn()?))
    }

    /// Waits for its end and shows what it said.
    pub(crate) async fn ended(self) -> Result<Output> {
        let ended = timeout(SOON, self.0.wait_with_output()).await;
        let ProcessOutput {
            status,
            stdout,
            stderr,
        } = ended.context("the verb does not end")??;
        let output = Output {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        };
        show("begun", &output);
        Ok(output)
    }
}

/// A new connection to database `datname` at `address`, as an application makes it.
pub(crate) async fn connect(address: SocketAddr, datname: &str) -> Result<Session, ConnectError> {
    let login = Login {
        user: "app".to_owned(),
        password: None,
        tls: None,
        datname: datname.to_owned(),
        application_name: "newcomer".to_owned(),
    };
    Session::open(address, &login, SOON).await
}

/// Whether no switch is under way in this status of a migration.
pub(crate) fn has_ended(status: &Value) -> bool {
    let state = status["state"].as_str();
    state.is_some_and(|state| !["switching", "undoing"].contains(&state))
}

/// Tries a new connection to each writer and reader of each sidecar, all at once, and expects
/// each to be refused.
pub(crate) async fn refusals(lab: &Lab) -> Result<Vec<ConnectError>> {
    let mut tries = Vec::new();
    for (number, _) in (0..).zip(&lab.sidecars) {
        for database in &lab.databases {
            tries.push(connect(lab.writer(number, database), &database.name));
            tries.push(connect(lab.reader(number, database), &database.name));
        }
    }
    let outcomes = join_all(tries).await.into_iter();
    let refused = outcomes.map(|outcome| match outcome {
        Ok(_session) => bail!("somebody was let in"),
        Err(refusal) => Ok(refusal),
    });
    refused.collect()
}

/// Enough clients for each habit on each database and sidecar.
fn workload_options(lab: &Lab) -> Result<WorkloadOptions> {
    Ok(WorkloadOptions {
        writers: 8,
        readers: 4,
        ..WorkloadOptions::through_sidecars(lab)?
    })
}

fn show(verb: &str, output: &Output) {
    let Output {
        code,
        stdout,
        stderr,
    } = output;
    let code = code.unwrap_or(-1);
    tell(&format!("$ pointsman {verb}\n{stdout}{stderr}[{code}]"));
}

#[expect(
    clippy::print_stdout,
    reason = "what a person reads of a test, with `--nocapture` or when it fails"
)]
pub(crate) fn tell(text: &str) {
    println!("{text}");
}
