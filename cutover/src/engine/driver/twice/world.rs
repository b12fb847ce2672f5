//! A real pair, and ports without sidecars.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use async_trait::async_trait;
use pointsman_catalog::{
    Catalog, DatabaseName, Declaration, OpenSessions, RouteChange, store::EmbeddedStore,
};
use pointsman_lab::{
    postgres::{Contents, PairOptions, PostgresPair, PostgresServer, Ways},
    scratch::Scratch,
};

use crate::{
    checks::CheckSet,
    ports::{
        BarrierPolicy, Convergence, DataPlane, DataPlaneError, Membership, NoEvidence, Ports,
        Providers, Publication, Rehearsal, SystemClock,
    },
    providers::postgres::{self, PostgresProvider, SecretSources},
};

/// Servers `blue` and `green`, on which a switch changes as much as it can: a database limit of their
/// own, sequences, and a superuser who loses his login in the bake.
#[derive(Debug)]
pub(super) struct World {
    pub(super) pair: PostgresPair,
    pub(super) ports: Ports,
    _scratch: Scratch,
}

impl World {
    pub(super) async fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut contents = Contents::default();
        contents.roles.push_str(STRANGER);
        contents.schema.push_str(LIMITED);
        let options = PairOptions {
            contents,
            ..PairOptions::default()
        };
        let pair = PostgresPair::start(scratch.path(), &options).await?;
        let store = EmbeddedStore::create(&scratch.path().join("store"))?;
        let catalog = Arc::new(Catalog::new(Arc::new(store)));
        let text = declaration(&pair, &scratch)?;
        let declared = Declaration::parse(&text, "lab")?;
        catalog.apply(&declared, OpenSessions::Keep).await?;
        let data_plane = WithoutSidecars {
            catalog: Arc::clone(&catalog),
            published: AtomicU64::default(),
        };
        let provider = PostgresProvider::new(SecretSources::unrestricted());
        let ports = Ports {
            catalog,
            clock: Arc::new(SystemClock::default()),
            data_plane: Arc::new(data_plane),
            providers: Providers::new(vec![Arc::new(provider)]),
            alarms: Vec::new(),
            evidence: Arc::new(NoEvidence),
            checks: CheckSet::new(postgres::CHECKS),
        };
        Ok(Self {
            pair,
            ports,
            _scratch: scratch,
        })
    }

    /// An application writes on `server`.
    pub(super) async fn write(&self, server: &PostgresServer) -> Result<()> {
        for datname in DATNAMES {
            let session = server.client_as("app", datname).await?;
            let insert = "INSERT INTO writes (client, number) VALUES (1, 1)";
            session.batch_execute(insert).await?;
        }
        Ok(())
    }
}

fn declaration(pair: &PostgresPair, scratch: &Scratch) -> Result<String> {
    let declared = |server: &PostgresServer| {
        let ways = Ways {
            fence: "sql+hba",
            control: server.address(),
            replication: Some(server.address()),
        };
        server.declaration(ways, scratch.path())
    };
    let mut text = declared(&pair.source)? + &declared(&pair.target)?;
    for (port, datname) in (6432..).step_by(2).zip(DATNAMES) {
        text.push_str(&format!(
            "[databases.{datname}]\nwriter = \"blue\"\nreaders = [\"green\"]\n\
             listen = {{ writer = {port}, reader = {} }}\n",
            port + 1
        ));
    }
    Ok(text)
}

/// Records routes, and has nobody to send them to.
#[derive(Debug)]
struct WithoutSidecars {
    catalog: Arc<Catalog>,
    published: AtomicU64,
}

#[async_trait]
impl DataPlane for WithoutSidecars {
    async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<Publication, DataPlaneError> {
        let changed = self.catalog.change_routes(changes).await;
        let changed = changed.map_err(|error| DataPlaneError::Store(Box::new(error)))?;
        let epochs = changed.routes.into_iter();
        Ok(Publication {
            sequence: self.published.fetch_add(1, Ordering::Relaxed) + 1,
            epochs: epochs.map(|(name, routes)| (name, routes.epoch)).collect(),
        })
    }

    async fn converge(&self, _: &Publication, _: BarrierPolicy, _: Duration) -> Convergence {
        Convergence {
            reached: true,
            ..Convergence::default()
        }
    }

    async fn rehearse(&self, _: Duration) -> Result<Rehearsal, DataPlaneError> {
        Ok(Rehearsal::default())
    }

    async fn membership(&self) -> Result<Membership, DataPlaneError> {
        Ok(Membership::default())
    }
}

/// The application databases.
pub(super) const DATNAMES: [&str; 2] = ["orders", "billing"];
const STRANGER: &str = "CREATE ROLE boss SUPERUSER LOGIN;";
const LIMITED: &str = "
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 40', current_database());
END $$;";
