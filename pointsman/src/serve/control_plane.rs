use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use pointsman_catalog::{Catalog, Store};
use pointsman_cutover::{
    Engine, Ports,
    ports::{Clock, DataPlane, Providers, SystemClock},
};
use pointsman_proto::v1::admin_server::AdminServer;
use pointsman_xds::{Limits, XdsServer};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{operators, tls::LoadedTls};
use crate::{
    admin::{AdminContext, AdminService},
    alarms::{self, AlarmContext},
    flip::Flip,
    providers::{self, MoreProviders},
    publish::{self, Background, Publishing},
    settings::Settings,
    telemetry::{AbsentMembers, ServerClients, SessionTracker, TelemetryEvidence},
};

/// Every part of the control plane, joined. The only place that names all of them.
pub(super) struct ControlPlane {
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    publishing: Publishing,
    /// The tasks of `publishing`; started, and taken from here, by [`Self::open`].
    background: Option<Background>,
    tracker: Arc<SessionTracker>,
    providers: Providers,
    engine: Arc<Engine>,
    barrier_deadline: Duration,
    pub(super) tasks: JoinSet<anyhow::Result<()>>,
    /// Stops every task. It is cancelled after the engine has parked, which needs them until then.
    stop: CancellationToken,
}

impl ControlPlane {
    /// Restores the state: when this returns, every snapshot is published.
    pub(super) async fn build(
        store: Arc<dyn Store>,
        settings: &Settings,
        more: MoreProviders,
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let catalog = Arc::new(Catalog::new(store));
        let (publishing, background) = publish::restore(Arc::clone(&catalog), Arc::clone(&clock))
            .await
            .context("the fleet's configuration could not be restored")?;
        let providers = providers::all(settings.secrets.clone(), more)?;
        let holds = Arc::clone(&publishing.holds);
        let tracker = Arc::new(SessionTracker::new(Arc::clone(&clock), holds));
        let view = || Arc::clone(&publishing.view);
        let alarms = alarms::all(AlarmContext {
            catalog: Arc::clone(&catalog),
            clock: Arc::clone(&clock),
            view: view(),
            addresses: Arc::clone(&publishing.addresses),
            tracker: Arc::clone(&tracker),
            providers: providers.clone(),
            settings: settings.alarms,
        });
        let evidence = TelemetryEvidence {
            clock: Arc::clone(&clock),
            tracker: Arc::clone(&tracker),
            view: view(),
            registry: Arc::clone(&publishing.registry),
            addresses: Arc::clone(&publishing.addresses),
            probes: Arc::clone(&publishing.probes),
        };
        let ports = Ports {
            evidence: Arc::new(evidence),
            catalog: Arc::clone(&catalog),
            clock: Arc::clone(&clock),
            data_plane: Arc::clone(&publishing.data_plane) as Arc<dyn DataPlane>,
            providers: providers.clone(),
            alarms,
            checks: providers::checks(),
        };
        Ok(Self {
            engine: Engine::new(ports, settings.engine),
            catalog,
            clock,
            tracker,
            publishing,
            background: Some(background),
            providers,
            barrier_deadline: settings.engine.barrier_deadline,
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Serves the sidecars, takes over the migrations of a former process, then serves operators.
    /// In this order no operator finds a migration missing.
    pub(super) async fn open(
        &mut self,
        xds: TcpListener,
        admin: TcpListener,
        tls: LoadedTls,
    ) -> anyhow::Result<()> {
        let xds_address = xds.local_addr()?;
        let admin_address = admin.local_addr()?;
        let server = XdsServer::new(
            Arc::clone(&self.publishing.cache),
            Arc::clone(&self.publishing.fleet),
            self.publishing.directory(tls.xds.is_some()),
            Arc::clone(&self.tracker) as _,
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
        if let Some(background) = self.background.take() {
            background.spawn(&mut self.tasks, &self.stop);
        }
        let (absent, stop) = (self.absent_members(), self.stop.clone());
        self.tasks.spawn(async move {
            absent.run(stop).await;
            Ok(())
        });
        self.engine
            .resume()
            .await
            .context("the migrations in the store could not be taken over")?;
        let service = AdminServer::new(AdminService::new(self.admin(xds_address, identity)));
        self.tasks.spawn(operators::serve(
            admin,
            tls.admin,
            service,
            self.publishing.clone(),
            self.stop.clone(),
        ));
        let mut out = std::io::stdout();
        writeln!(out, "ready xds={xds_address} admin={admin_address}")?;
        out.flush()?;
        info!(xds = %xds_address, admin = %admin_address, "serving");
        Ok(())
    }

    fn absent_members(&self) -> AbsentMembers {
        let servers = ServerClients {
            catalog: Arc::clone(&self.catalog),
            addresses: Arc::clone(&self.publishing.addresses),
            providers: self.providers.clone(),
            clock: Arc::clone(&self.clock),
        };
        AbsentMembers {
            view: Arc::clone(&self.publishing.view),
            tracker: Arc::clone(&self.tracker),
            servers: Arc::new(servers),
            released: Mutex::default(),
        }
    }

    fn admin(&self, xds: SocketAddr, xds_identity: String) -> AdminContext {
        AdminContext {
            catalog: Arc::clone(&self.catalog),
            clock: Arc::clone(&self.clock),
            publishing: self.publishing.clone(),
            tracker: Arc::clone(&self.tracker),
            engine: Arc::clone(&self.engine),
            providers: self.providers.clone(),
            flip: Flip {
                catalog: Arc::clone(&self.catalog),
                data_plane: Arc::clone(&self.publishing.data_plane) as Arc<dyn DataPlane>,
                engine: Arc::clone(&self.engine),
                providers: self.providers.clone(),
                clock: Arc::clone(&self.clock),
                barrier_deadline: self.barrier_deadline,
            },
            // An unspecified address cannot be dialled.
            xds: if xds.ip().is_unspecified() {
                String::new()
            } else {
                xds.to_string()
            },
            xds_identity,
            stop: self.stop.clone(),
        }
    }

    /// Stops the engine first: it parks at its next journal entry and may publish until then.
    pub(super) async fn close(&mut self) {
        self.engine.shutdown().await;
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
