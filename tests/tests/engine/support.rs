//! An engine on a real pair, with a data plane that acknowledges everything at once.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use async_trait::async_trait;
use pointsman_catalog::{Catalog, DatabaseName, Declaration, RouteChange, store::EmbeddedStore};
use pointsman_cutover::{
    Engine, NewMigration, Ports, Settings, Status,
    ports::{Barrier, Convergence, DataPlane, DataPlaneError, Membership, Publication},
    providers::postgres::PostgresProvider,
};
use pointsman_tests::lab::{
    gate::Gate,
    postgres::{PairOptions, PostgresPair},
    scratch::Scratch,
};

/// Records routes in the catalogue as the real one does, and has no sidecars.
#[derive(Debug)]
pub struct Acknowledging {
    catalog: Arc<Catalog>,
    published: Mutex<u64>,
}

#[async_trait]
impl DataPlane for Acknowledging {
    async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<Publication, DataPlaneError> {
        let routes = self
            .catalog
            .publish(changes)
            .await
            .map_err(|error| DataPlaneError::Store(Box::new(error)))?;
        let mut published = self.published.lock().unwrap();
        *published += 1;
        Ok(Publication {
            sequence: *published,
            epochs: routes
                .into_iter()
                .map(|(name, r)| (name, r.epoch))
                .collect(),
        })
    }

    async fn converge(&self, _: &Publication, _: Barrier, _: Duration) -> Convergence {
        Convergence {
            reached: true,
            ..Convergence::default()
        }
    }

    async fn membership(&self) -> Result<Membership, DataPlaneError> {
        Ok(Membership::default())
    }
}

/// What a world is to be like.
#[derive(Default)]
pub struct WorldOptions {
    pub settings: Settings,
    /// Puts a gate between the engine and the target.
    pub gate_target: bool,
}

pub struct World {
    /// Between the engine and the target, where it was asked for.
    pub gate: Option<Gate>,
    pub pair: PostgresPair,
    pub engine: Arc<Engine>,
    pub catalog: Arc<Catalog>,
    _scratch: Scratch,
}

impl World {
    pub async fn new(options: WorldOptions) -> Result<Self> {
        let scratch = Scratch::new()?;
        let pair = PostgresPair::start(scratch.path(), &PairOptions::default()).await?;
        let store = EmbeddedStore::create(&scratch.path().join("store"))?;
        let catalog = Arc::new(Catalog::new(Arc::new(store)));
        let gate = match options.gate_target {
            true => Some(Gate::start(pair.target.address()).await?),
            false => None,
        };
        let control = gate.as_ref().map_or(pair.target.address(), Gate::address);
        let text = declaration(&pair, control);
        catalog.apply(&Declaration::parse(&text, "lab")?).await?;
        let data_plane = Arc::new(Acknowledging {
            catalog: Arc::clone(&catalog),
            published: Mutex::default(),
        });
        let ports = Ports {
            catalog: Arc::clone(&catalog),
            data_plane,
            provider: Arc::new(PostgresProvider),
            alarms: Vec::new(),
        };
        Ok(Self {
            gate,
            pair,
            engine: Engine::new(ports, options.settings),
            catalog,
            _scratch: scratch,
        })
    }

    /// A migration that is ready to switch.
    pub async fn started(&self) -> Result<Status> {
        self.engine
            .create(NewMigration {
                name: "m".to_owned(),
                source: "blue".parse()?,
                target: "green".parse()?,
                fates: BTreeMap::new(),
            })
            .await?;
        let report = self.engine.preflight("m").await?;
        let blocks: Vec<_> = report
            .blocking()
            .map(|f| {
                format!(
                    "{} {} {}: {} {:?}",
                    f.id, f.slug, f.location, f.says, f.evidence
                )
            })
            .collect();
        anyhow::ensure!(blocks.is_empty(), "preflight blocks: {blocks:#?}");
        Ok(self.engine.start("m").await?)
    }

    /// From now on new control sessions to the target are tried at `control`.
    pub async fn move_control_of_target(&self, control: SocketAddr) -> Result<()> {
        let text = declaration(&self.pair, control);
        let declared = Declaration::parse(&text, "lab")?;
        self.catalog.apply(&declared).await?;
        Ok(())
    }

    /// Waits until the status passes `holds`.
    pub async fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Result<Status> {
        let mut status = self.engine.watch("m").await?;
        let found = tokio::time::timeout(SOON, status.wait_for(|status| holds(status)))
            .await
            .with_context(|| format!("not within {SOON:?}: {what}"))??;
        Ok(Status::clone(&found))
    }
}

pub fn story(status: &Status) -> String {
    let mut lines = vec![status.headline.clone()];
    for entry in status.entries.iter() {
        lines.push(format!(
            "{:>3} {:>8.1} ms {:>7.1} ms {:<9} {:?} {} {}",
            entry.switch,
            entry.offset_us as f64 / 1e3,
            entry.took_us as f64 / 1e3,
            entry.step,
            entry.kind,
            entry.words,
            entry.evidence
        ));
    }
    lines.join("\n")
}

fn declaration(pair: &PostgresPair, target_control: SocketAddr) -> String {
    let server = |name: &str, endpoint: SocketAddr, control: SocketAddr| {
        format!(
            "[servers.{name}]\nendpoint = \"{0}\"\ncontrol = \"host={1} port={2} user=postgres\"\n\
             fence = \"sql+hba\"\n",
            endpoint,
            control.ip(),
            control.port(),
        )
    };
    format!(
        "{}{}[databases.orders]\nwriter = \"blue\"\nreaders = [\"green\"]\n\
         listen = {{ writer = 6432, reader = 6433 }}\n\
         [databases.billing]\nwriter = \"blue\"\nreaders = [\"green\"]\n\
         listen = {{ writer = 6434, reader = 6435 }}\n",
        server("blue", pair.source.address(), pair.source.address()),
        server("green", pair.target.address(), target_control)
    )
}

const SOON: Duration = Duration::from_secs(20);
