//! An engine on a real pair, with gates between them.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
};

use anyhow::{Context, Result, ensure};
use pointsman_catalog::{
    Catalog, DatabaseName, Declaration, OpenSessions, Route, RouteChange, Store,
    store::EmbeddedStore,
};
use pointsman_cutover::{
    Engine, NewMigration, Settings, Status, WayBack, WayBackKind,
    journal::{Journal, Verdict},
    machine::State,
    migration::{UnlistedDatabasePolicy, Waiver},
    ports::{Reached, SystemClock},
};
use pointsman_lab::{
    gate::{Caught, Gate},
    postgres::{Contents, Hosting, PairOptions, PostgresPair, PostgresServer, Ways},
    scratch::Scratch,
    store::FaultInjectingStore,
};
use pointsman_tests::reached_by_sql::ReachedBySql;
use tokio::{
    runtime::Builder,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{
    api::PromotionApi,
    process::Process,
    roles::UnpromotableTarget,
    servers::{SOON, eventually},
};

/// Servers `blue` (the source) and `green` (the target), an engine, and gates between
/// them. Migration `m` moves databases `orders` and `billing`.
pub(crate) struct TestEnvironment {
    process: Option<Process>,
    /// Between the engine and the source.
    pub(crate) source_gate: Gate,
    /// Between the engine and the target.
    pub(crate) target_gate: Gate,
    /// Between the reverse stream's subscriber, the source, and its publisher, the target.
    pub(crate) stream_gate: Gate,
    pub(crate) pair: PostgresPair,
    /// Of the target, once it is switched on.
    pub(crate) api: PromotionApi,
    settings: Settings,
    waived: BTreeSet<Waiver>,
    durable_way_back: bool,
    scratch: Scratch,
}

impl TestEnvironment {
    pub(crate) async fn new(settings: Settings) -> Result<Self> {
        Self::on("", settings).await
    }

    /// On servers that have these lines in `postgresql.conf`.
    pub(crate) async fn on(lines: &str, settings: Settings) -> Result<Self> {
        Self::at(Hosting::from_environment()?, None, lines, settings).await
    }

    /// On servers like a cloud's, whose control role is no superuser. A DBA has granted it the
    /// promotion and the reading of WAL. The cloud's own role writes in its database all the time.
    pub(crate) async fn without_superuser(settings: Settings) -> Result<Self> {
        Self::at(Hosting::Managed, None, "", settings).await
    }

    /// The same on servers of this major version.
    pub(crate) async fn without_superuser_on(major: u32, settings: Settings) -> Result<Self> {
        Self::at(Hosting::Managed, Some(major), "", settings).await
    }

    async fn at(
        hosting: Hosting,
        major: Option<u32>,
        lines: &str,
        settings: Settings,
    ) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut contents = Contents {
            settings: lines.to_owned(),
            ..Contents::default()
        };
        if hosting == Hosting::Managed {
            // Where ids prove that nobody wrote, those of the cloud's role are told from others.
            contents.settings.push_str("autovacuum = off\n");
        }
        let options = PairOptions {
            hosting,
            major,
            contents,
            ..PairOptions::default()
        };
        let pair = PostgresPair::start(scratch.path(), &options).await?;
        pair.grant_promotion_and_wal().await?;
        let source_gate = Gate::start(pair.source.address()).await?;
        let target_gate = Gate::start(pair.target.address()).await?;
        let stream_gate = Gate::start(pair.target.address()).await?;
        let store = EmbeddedStore::create(&scratch.path().join("store"))?;
        let api = PromotionApi::default();
        let process = Process::start(store, settings, api.clone())?;
        let env = Self {
            process: Some(process),
            source_gate,
            target_gate,
            stream_gate,
            pair,
            api,
            settings,
            waived: BTreeSet::new(),
            durable_way_back: false,
            scratch,
        };
        env.move_control_of_target(env.target_gate.address())
            .await?;
        Ok(env)
    }

    /// The operator accepts this in each migration that is made from now on.
    pub(crate) fn waive(&mut self, what: &str) -> Result<()> {
        let waiver = what.parse().map_err(anyhow::Error::msg)?;
        self.waived.insert(waiver);
        Ok(())
    }

    /// Each migration that is made from now on wants no acknowledged write to be lost with its target.
    pub(crate) fn want_durable_way_back(&mut self) {
        self.durable_way_back = true;
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.process().engine
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.process().catalog
    }

    pub(crate) fn store(&self) -> &FaultInjectingStore {
        &self.process().store
    }

    pub(crate) fn unpromotable_target(&self) -> &ReachedBySql<UnpromotableTarget> {
        &self.process().unpromotable_target
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.scratch.path()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("the engine was killed")
    }

    /// Creates migration `name` from `blue` to `green`.
    pub(crate) async fn create(
        &self,
        name: &str,
        unlisted: &[(&str, UnlistedDatabasePolicy)],
    ) -> Result<Status> {
        self.create_to(name, "green", unlisted).await
    }

    /// Creates migration `name` from `blue` to `target`.
    pub(crate) async fn create_to(
        &self,
        name: &str,
        target: &str,
        unlisted: &[(&str, UnlistedDatabasePolicy)],
    ) -> Result<Status> {
        let wanted = NewMigration {
            name: name.to_owned(),
            source: "blue".parse()?,
            target: target.parse()?,
            unlisted: unlisted
                .iter()
                .map(|(datname, policy)| ((*datname).to_owned(), *policy))
                .collect(),
            waived: self.waived.clone(),
            durable_way_back: self.durable_way_back,
        };
        let engine = Arc::clone(&self.process().engine);
        // The driver's task must belong to the engine's runtime.
        let created = self.on_engine(async move { engine.create(wanted).await });
        Ok(created.await??)
    }

    /// Migration `m`, ready to switch.
    pub(crate) async fn started(&self) -> Result<Status> {
        self.create("m", &[]).await?;
        let report = self.engine().preflight("m").await?;
        let blocks: Vec<_> = report
            .blocking()
            .map(|f| {
                format!(
                    "{} {} {}: {} {:?}",
                    f.id, f.slug, f.location, f.message, f.evidence
                )
            })
            .collect();
        ensure!(blocks.is_empty(), "preflight blocks: {blocks:#?}");
        Ok(self.engine().start("m").await?)
    }

    /// Migration `m`, switched, with a proven reverse stream.
    pub(crate) async fn switched(&self) -> Result<Status> {
        self.started().await?;
        let status = self.engine().switch("m").await?;
        ensure!(
            matches!(status.migration.state(), State::Baking { .. }),
            "{}",
            story(&status)
        );
        self.proven().await
    }

    pub(crate) async fn proven(&self) -> Result<Status> {
        self.until("the reverse stream is proven", |status| {
            let looked = !status.way_back.message.contains("is not known yet");
            status.reverse_stream() == "proven" && looked
        })
        .await
    }

    /// Begins a switch, which ends with the engine if that is killed.
    pub(crate) fn begin_switch(&self) -> JoinHandle<Result<Status>> {
        let engine = Arc::clone(&self.process().engine);
        self.on_engine(async move { Ok(engine.switch("m").await?) })
    }

    /// Begins a rollback, which ends with the engine if that is killed.
    pub(crate) fn begin_rollback(&self, accept_loss: bool) -> JoinHandle<Result<Status>> {
        let engine = Arc::clone(&self.process().engine);
        self.on_engine(async move { Ok(engine.rollback("m", accept_loss).await?) })
    }

    /// The same with an operator's choice.
    pub(crate) fn begin_resolve(&self, choice: &'static str) -> JoinHandle<Result<Status>> {
        let engine = Arc::clone(&self.process().engine);
        self.on_engine(async move { Ok(engine.resolve("m", choice).await?) })
    }

    /// The same with a completion.
    pub(crate) fn begin_completion(&self) -> JoinHandle<Result<Status>> {
        let engine = Arc::clone(&self.process().engine);
        self.on_engine(async move { Ok(engine.complete("m", false).await?) })
    }

    /// The same with a cancellation.
    pub(crate) fn begin_cancel(&self) -> JoinHandle<Result<Status>> {
        let engine = Arc::clone(&self.process().engine);
        self.on_engine(async move { Ok(engine.cancel("m").await?) })
    }

    fn on_engine<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.process().runtime.handle().spawn(task)
    }

    /// Ends the engine wherever it is, as `kill -9` would: its tasks go, its sockets are
    /// closed, its store is left as it stands.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let Process { runtime, .. } = self.process.take().context("killed twice")?;
        spawn_blocking(move || runtime.shutdown_timeout(SOON)).await?;
        Ok(())
    }

    /// [`Self::kill`], once the gate has caught what it waits for.
    pub(crate) async fn kill_at(&mut self, caught: Caught) -> Result<()> {
        caught.within(SOON).await?;
        self.kill().await
    }

    /// Another engine opens the store and goes on.
    pub(crate) async fn take_over(&mut self) -> Result<()> {
        let folder = self.scratch.path().join("store");
        let store = spawn_blocking(move || EmbeddedStore::open(&folder)).await??;
        let process = Process::start(store, self.settings, self.api.clone())?;
        let engine = Arc::clone(&process.engine);
        let resumed = process
            .runtime
            .handle()
            .spawn(async move { engine.resume().await });
        self.process = Some(process);
        Ok(resumed.await??)
    }

    /// Throws away what the gate before the target holds, with the sessions it came from.
    pub(crate) async fn lose_requests_to_target(&self) -> Result<()> {
        self.target_gate.sever();
        let target = self.pair.target.client("postgres").await?;
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pointsman/%'";
        eventually("the engine's sessions have ended", async || {
            Ok(target.query_one(sql, &[]).await?.get::<_, i64>(0) == 0)
        })
        .await?;
        self.target_gate.restore();
        Ok(())
    }

    /// From now on new control sessions to the target are tried at `control`.
    pub(crate) async fn move_control_of_target(&self, control: SocketAddr) -> Result<()> {
        self.declare(control, "sql+hba").await
    }

    /// The engine leaves `pg_hba.conf` of both servers alone.
    pub(crate) async fn fence_by_sql_alone(&self) -> Result<()> {
        self.declare(self.target_gate.address(), "sql").await
    }

    async fn declare(&self, control: SocketAddr, fence: &'static str) -> Result<()> {
        let server = |server: &PostgresServer, control: SocketAddr, stream: SocketAddr| {
            let ways = Ways {
                fence: match server.hosting() {
                    Hosting::SelfManaged => fence,
                    Hosting::Managed => "sql",
                },
                control,
                replication: Some(stream),
            };
            server.declaration(ways, self.folder())
        };
        let (blue, green) = (&self.pair.source, &self.pair.target);
        let text = format!(
            "{}{}[databases.orders]\nwriter = \"blue\"\nreaders = [\"green\"]\n\
             listen = {{ writer = 6432, reader = 6433 }}\n\
             [databases.billing]\nwriter = \"blue\"\nreaders = [\"green\"]\n\
             listen = {{ writer = 6434, reader = 6435 }}\n",
            server(blue, self.source_gate.address(), blue.address())?,
            server(green, control, self.stream_gate.address())?,
        );
        let declared = Declaration::parse(&text, "lab")?;
        self.catalog().apply(&declared, OpenSessions::Keep).await?;
        Ok(())
    }

    /// Waits until the status of migration `m` passes `holds`.
    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl Fn(&Status) -> bool,
    ) -> Result<Status> {
        let mut status = self.engine().watch("m")?;
        let found = timeout(SOON, status.wait_for(|status| holds(status))).await;
        let found = found.map(|found| found.map(|status| Status::clone(&status)));
        let now = Arc::clone(&status.borrow());
        Ok(found.with_context(|| format!("not within {SOON:?}: {what}\n{}", story(&now)))??)
    }

    /// Waits until nothing is under way, and returns the state that was reached.
    pub(crate) async fn settled(&self) -> Result<Status> {
        self.until("the migration settles", |status| {
            !status.migration.state().is_moving()
        })
        .await
    }

    /// Declares `server`, and has readers of `orders` go there as well.
    pub(crate) async fn add_reader(&self, server: &PostgresServer) -> Result<()> {
        let ways = Ways {
            fence: "sql",
            control: server.address(),
            replication: None,
        };
        let text = server.declaration(ways, self.folder())?;
        let declared = Declaration::parse(&text, "lab")?;
        self.catalog().apply(&declared, OpenSessions::Keep).await?;
        let readers = vec!["green".parse()?, server.name().parse()?];
        let change = RouteChange {
            writer: None,
            reader: Some(Route::serve(readers)),
        };
        let changes = [("orders".parse()?, change)].into();
        self.catalog().change_routes(&changes).await?;
        Ok(())
    }

    /// From now on this engine's fleet takes its time with every acknowledgement.
    pub(crate) fn mute_fleet(&self) {
        self.process().fleet.muted.store(true, Ordering::Relaxed);
    }

    /// The next step that waits for this engine's fleet panics.
    pub(crate) fn plant_panic(&self) {
        self.process().fleet.faulty.store(true, Ordering::Relaxed);
    }

    /// From now on one of this engine's fleet refuses each hold.
    pub(crate) fn refuse_holds(&self) {
        self.process().fleet.refusing.store(true, Ordering::Relaxed);
    }

    /// From now on one of this engine's fleet refuses each change that moves nothing.
    pub(crate) fn refuse_rehearsals(&self) {
        self.process().fleet.contrary.store(true, Ordering::Relaxed);
    }

    /// From now on sidecar `app-1` reports so many sessions on the source.
    pub(crate) fn report_on_source(&self, sessions: u64) {
        let reported = &self.process().evidence.on_blue;
        reported.store(sessions, Ordering::Relaxed);
    }

    /// From now on sidecar `app-1` says this of trying the target.
    pub(crate) fn report_on_target(&self, reached: Reached) {
        let reported = self.process().evidence.target.lock();
        *reported.unwrap_or_else(PoisonError::into_inner) = Some(reached);
    }

    /// An alarm fires.
    pub(crate) fn ring(&self) {
        self.process().bell.rung.notify_one();
    }

    /// Sends writers of database `orders` to `server` by hand, as `flip --force` does.
    pub(crate) async fn send_writers_to(&self, server: &str) -> Result<()> {
        let change = RouteChange {
            writer: Some(Route::serve(vec![server.parse()?])),
            reader: None,
        };
        let changes = [("orders".parse()?, change)].into();
        self.catalog().change_routes(&changes).await?;
        Ok(())
    }

    /// The same with every database.
    pub(crate) async fn send_all_writers_to(&self, server: &str) -> Result<()> {
        let writer = Some(Route::serve(vec![server.parse()?]));
        let change = RouteChange {
            writer,
            reader: None,
        };
        let changes = ["orders", "billing"].map(|name| Ok((name.parse()?, change.clone())));
        let changes: Result<_> = changes.into_iter().collect();
        self.catalog().change_routes(&changes?).await?;
        Ok(())
    }

    /// Where new connections of database `orders` go: the writer's and the reader's route.
    pub(crate) async fn routes(&self) -> Result<(String, String)> {
        let routes = self.catalog().routes().await?;
        let orders = routes
            .get(&"orders".parse::<DatabaseName>()?)
            .context("orders has routes")?;
        Ok((orders.writer.to_string(), orders.reader.to_string()))
    }
}

impl Drop for TestEnvironment {
    fn drop(&mut self) {
        if let Some(Process { runtime, store, .. }) = self.process.take() {
            runtime.shutdown_background();
            if !thread::panicking() {
                allowed_by_the_machine(store);
            }
        }
    }
}

/// Every run ends with a look at what it wrote down.
fn allowed_by_the_machine(store: Arc<dyn Store>) {
    let look = thread::spawn(move || -> Result<Vec<String>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let journal = Journal::new(store, Arc::new(SystemClock::default()));
            let mut violations = Vec::new();
            for stored in journal.migrations().await? {
                if stored.record.is_ok() {
                    let replay = journal.replay(&stored.name).await?;
                    if replay.verdict() != Verdict::Pass {
                        violations.push(format!("{replay:?}"));
                    }
                }
            }
            Ok(violations)
        })
    });
    let found = look.join().expect("no panic").expect("a readable store");
    assert!(
        found.is_empty(),
        "the machine does not allow what a journal says: {found:#?}"
    );
}

pub(crate) fn is_in(status: &Status, state: &State) -> Result<()> {
    ensure!(status.migration.state() == *state, "{}", story(status));
    Ok(())
}

/// The whole journal, for the message of a failed test.
/// A switch back over a stream that carries everything. Where WAL cannot be read, nobody knows who
/// else wrote on the source, and it is not called lossless.
pub(crate) fn is_whole(status: &Status) -> bool {
    let WayBack {
        kind,
        lossless,
        message,
        ..
    } = &status.way_back;
    *kind == WayBackKind::Switch && *lossless != message.contains("its WAL cannot be read")
}

pub(crate) fn story(status: &Status) -> String {
    let mut lines = vec![status.headline.clone()];
    for entry in status.entries.iter() {
        lines.push(format!(
            "{:>3} {:>8.1} ms {:>7.1} ms {:<9} {:?} {} {}",
            entry.switch,
            entry.offset_us as f64 / 1e3,
            entry.took_us as f64 / 1e3,
            entry.step,
            entry.kind,
            entry.message,
            entry.evidence
        ));
    }
    lines.join("\n")
}
