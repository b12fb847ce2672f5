//! The control plane as a process: state restored, then listeners, then migrations; and the
//! way back down.

mod listeners;
mod log;
mod operators;
mod signals;

use std::{io::Write as _, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use pointsman_catalog::{Catalog, Store, store::EmbeddedStore};
use pointsman_cutover::{
    Engine, Ports,
    ports::{DataPlane, Providers, SystemClock},
};
use pointsman_proto::v1::admin_server::AdminServer;
use pointsman_xds::{Identity, Limits, NodeDirectory, ServerTls, TlsFiles, XdsServer};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    admin::Admin,
    alarms::{ConnectFailures, WriteProbe},
    evidence::{SessionCensus, Witness},
    fleet::{Proven, Publisher},
    flip::Flip,
    providers,
    settings::Settings,
};
use listeners::Exposure;
use signals::Signals;

/// How to serve.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) data_dir: PathBuf,
    /// Make a new store.
    pub(crate) init: bool,
    pub(crate) settings: Settings,
    pub(crate) xds_listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) tls: Tls,
    /// Sidecars may come from other machines without a certificate.
    pub(crate) xds_anywhere: bool,
    /// The admin listener may be reached from other machines without a certificate.
    pub(crate) admin_anywhere: bool,
}

/// The certificates of the two listeners; without one a listener speaks plain text.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) xds: Option<TlsFiles>,
    pub(crate) admin: Option<TlsFiles>,
}

/// Serves until a signal ends it.
///
/// # Errors
/// What could not be opened, bound or restored, or which part ended by itself.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    log::init();
    let mut signals = Signals::new()?;
    listeners::check_admin(Exposure {
        address: options.admin_listen,
        tls: options.tls.admin.is_some(),
        plaintext_anywhere: options.admin_anywhere,
    })?;
    listeners::check_xds(Exposure {
        address: options.xds_listen,
        tls: options.tls.xds.is_some(),
        plaintext_anywhere: options.xds_anywhere,
    })?;
    // Before a new store is made: a start that fails must not leave one behind.
    let tls = Loaded::read(&options.tls).await?;
    let xds = listeners::bind("sidecars", "--xds-listen", options.xds_listen).await?;
    let admin = listeners::bind("operators", "--admin-listen", options.admin_listen).await?;
    let store = open(&options).await?;
    let mut house = House::build(store, &options.settings).await?;
    house.open(xds, admin, tls).await?;

    let ended = tokio::select! {
        () = signals.next() => None,
        ended = house.tasks.join_next() => Some(ended),
    };
    info!("stopping");
    tokio::select! {
        stopped = timeout(STOPPING, house.close()) => {
            stopped.context("parts of the control plane did not stop in time")?;
        }
        () = signals.next() => bail!("a second signal: stopped without waiting"),
    }
    match ended {
        None => Ok(()),
        Some(Some(Ok(Err(error)))) => Err(error),
        Some(Some(Err(panic))) => Err(panic).context("a part of the control plane failed"),
        Some(Some(Ok(Ok(()))) | None) => bail!("a listener ended by itself"),
    }
}

/// What the files of [`Tls`] held.
struct Loaded {
    /// With the name in its certificate.
    xds: Option<(Arc<ServerTls>, Identity)>,
    admin: Option<Arc<ServerTls>>,
}

impl Loaded {
    async fn read(tls: &Tls) -> anyhow::Result<Self> {
        let xds = match load(tls.xds.as_ref(), "sidecars").await? {
            None => None,
            Some(tls) => {
                let identity = tls.identity().context(
                    "the certificate of --xds-tls-cert has no SPIFFE ID, and sidecars know the \
                     control plane by nothing else: have one made with the URI name \
                     spiffe://<trust domain>/pointsman/control-plane",
                )?;
                Some((tls, identity))
            }
        };
        Ok(Self {
            xds,
            admin: load(tls.admin.as_ref(), "operators").await?,
        })
    }

    /// The name by which sidecars know the control plane.
    fn xds_identity(&self) -> String {
        let named = self.xds.as_ref();
        named.map_or_else(String::new, |(_, identity)| identity.to_string())
    }
}

async fn load(files: Option<&TlsFiles>, whom: &str) -> anyhow::Result<Option<Arc<ServerTls>>> {
    let Some(files) = files else { return Ok(None) };
    let tls = ServerTls::load(files.clone())
        .await
        .with_context(|| format!("the listener for {whom} has no usable certificate"))?;
    Ok(Some(Arc::new(tls)))
}

async fn open(options: &Options) -> anyhow::Result<Arc<dyn Store>> {
    let dir = options.data_dir.clone();
    let init = options.init;
    let store = tokio::task::spawn_blocking(move || {
        if init {
            std::fs::create_dir_all(&dir)
                .with_context(|| format!("cannot make the folder {}", dir.display()))?;
            Ok(EmbeddedStore::create(&dir)?)
        } else {
            anyhow::Ok(EmbeddedStore::open(&dir)?)
        }
    })
    .await??;
    Ok(Arc::new(store))
}

/// Every part, joined.
struct House {
    catalog: Arc<Catalog>,
    publisher: Arc<Publisher>,
    census: Arc<SessionCensus>,
    providers: Providers,
    engine: Arc<Engine>,
    barrier_deadline: Duration,
    tasks: JoinSet<anyhow::Result<()>>,
    /// For the parts that the engine needs until it has parked.
    stop: CancellationToken,
}

impl House {
    /// Restores the state: when this returns, every snapshot is published.
    async fn build(store: Arc<dyn Store>, settings: &Settings) -> anyhow::Result<Self> {
        let catalog = Arc::new(Catalog::new(store));
        let publisher = Publisher::restore(Arc::clone(&catalog))
            .await
            .context("the fleet's configuration could not be restored")?;
        let providers = providers::all();
        let probe = WriteProbe::new(
            Arc::clone(&catalog),
            Arc::clone(&publisher),
            providers.clone(),
            settings.probe,
        );
        let census = Arc::new(SessionCensus::new(Arc::clone(&publisher)));
        let sidecars = ConnectFailures::new(
            Arc::clone(&publisher),
            Arc::clone(&census),
            settings.connect_failures,
        );
        let witness = Witness::new(Arc::clone(&publisher), Arc::clone(&census));
        let ports = Ports {
            evidence: Arc::new(witness),
            catalog: Arc::clone(&catalog),
            clock: Arc::new(SystemClock::default()),
            data_plane: Arc::clone(&publisher) as Arc<dyn DataPlane>,
            providers: providers.clone(),
            alarms: vec![Arc::new(probe), Arc::new(sidecars)],
            checks: providers::checks(),
        };
        Ok(Self {
            engine: Engine::new(ports, settings.engine),
            catalog,
            census,
            publisher,
            providers,
            barrier_deadline: settings.engine.barrier_deadline,
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Serves the sidecars, takes over what a former process left in flight, then serves
    /// operators, who so never see a migration missing.
    async fn open(
        &mut self,
        xds: TcpListener,
        admin: TcpListener,
        tls: Loaded,
    ) -> anyhow::Result<()> {
        let xds_address = xds.local_addr()?;
        let admin_address = admin.local_addr()?;
        let directory: Arc<dyn NodeDirectory> = match tls.xds {
            Some(_) => Arc::new(Proven(Arc::clone(&self.publisher))),
            None => Arc::clone(&self.publisher) as _,
        };
        let server = XdsServer::new(
            self.publisher.cache(),
            self.publisher.fleet(),
            directory,
            Arc::clone(&self.census) as _,
            Limits::default(),
        );
        let identity = tls.xds_identity();
        let server = match tls.xds {
            Some((tls, _identity)) => server.with_tls(tls),
            None => server,
        };
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { Ok(server.serve(xds, stop).await?) });
        let publisher = Arc::clone(&self.publisher);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            publisher.run(stop).await;
            Ok(())
        });
        self.engine
            .resume()
            .await
            .context("the migrations in the store could not be taken over")?;
        let service = AdminServer::new(self.admin(xds_address, identity));
        self.tasks.spawn(operators::serve(
            admin,
            tls.admin,
            service,
            Arc::clone(&self.publisher),
            self.stop.clone(),
        ));
        let mut out = std::io::stdout();
        writeln!(out, "ready xds={xds_address} admin={admin_address}")?;
        out.flush()?;
        info!(xds = %xds_address, admin = %admin_address, "serving");
        Ok(())
    }

    fn admin(&self, xds: SocketAddr, xds_identity: String) -> Admin {
        Admin {
            catalog: Arc::clone(&self.catalog),
            publisher: Arc::clone(&self.publisher),
            census: Arc::clone(&self.census),
            engine: Arc::clone(&self.engine),
            providers: self.providers.clone(),
            flip: Flip {
                catalog: Arc::clone(&self.catalog),
                publisher: Arc::clone(&self.publisher),
                engine: Arc::clone(&self.engine),
                providers: self.providers.clone(),
                barrier_deadline: self.barrier_deadline,
            },
            // Nobody can dial "every address".
            xds: if xds.ip().is_unspecified() {
                String::new()
            } else {
                xds.to_string()
            },
            xds_identity,
            stop: self.stop.clone(),
        }
    }

    /// The engine first: it parks at its next journal entry and may publish until then.
    async fn close(&mut self) {
        self.engine.shutdown().await;
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// A step that is under way ends within its own deadline, streams within theirs.
const STOPPING: Duration = Duration::from_secs(20);
