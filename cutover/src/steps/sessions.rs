use std::sync::Arc;

use futures_util::future::join;
use pointsman_catalog::ServerName;

use super::{Failure, Run};
use crate::{
    Ports,
    migration::Migration,
    ports::{Budgets, ControlledServer, ManagedPromotion, ProviderError},
};

/// The control sessions of a migration's two servers, opened when first needed.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    source: Option<Arc<ControlledServer>>,
    target: Option<Arc<ControlledServer>>,
}

/// Both servers of a switch, under control.
#[derive(Clone, Debug)]
pub(crate) struct Both {
    pub(crate) source: Arc<ControlledServer>,
    pub(crate) target: Arc<ControlledServer>,
}

impl Sessions {
    /// Forgets every session. The next use opens new ones, which ends the old ones on the
    /// server when the epoch has grown.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Run<'_> {
    /// Both servers, in parallel where they must be reached first.
    pub(super) async fn both(&mut self) -> Result<Both, Failure> {
        let (ports, migration, budgets) = (self.ports, self.migration, self.budgets);
        let Sessions { source, target } = &mut *self.sessions;
        let (source, target) = join(
            ensure(
                source,
                ports,
                (&migration.source, budgets.source),
                migration,
            ),
            ensure(
                target,
                ports,
                (&migration.target, budgets.target),
                migration,
            ),
        )
        .await;
        Ok(Both {
            source: source?,
            target: target?,
        })
    }

    /// The source alone: an undo must not wait for a target that is gone.
    pub(super) async fn source(&mut self) -> Result<Arc<ControlledServer>, Failure> {
        let source = (&self.migration.source, self.budgets.source);
        ensure(
            &mut self.sessions.source,
            self.ports,
            source,
            self.migration,
        )
        .await
    }

    /// The target alone.
    pub(super) async fn target(&mut self) -> Result<Arc<ControlledServer>, Failure> {
        let target = (&self.migration.target, self.budgets.target);
        ensure(
            &mut self.sessions.target,
            self.ports,
            target,
            self.migration,
        )
        .await
    }

    /// How an API promotes the target; `None` where it is promoted by SQL.
    pub(super) async fn managed_promotion(
        &self,
    ) -> Result<Option<Arc<dyn ManagedPromotion>>, Failure> {
        let target = self.ports.catalog.server(&self.migration.target).await?;
        let provider = self.ports.providers.of(&target)?;
        Ok(provider.managed_promotion(&target))
    }
}

/// Opens the sessions into `datnames`, behind the fence where there is one. Returns the
/// transactions that this took.
///
/// A new process has none of the former one's sessions. An armed source lets superusers in,
/// a closed server lets nobody in.
pub(super) async fn enter(
    server: &ControlledServer,
    datnames: &[String],
) -> Result<Vec<u64>, ProviderError> {
    match server.sessions()?.open_databases(datnames).await {
        Ok(()) => Ok(Vec::new()),
        Err(_) => server.sessions()?.reenter_databases(datnames).await,
    }
}

async fn ensure(
    slot: &mut Option<Arc<ControlledServer>>,
    ports: &Ports,
    (name, budgets): (&ServerName, Budgets),
    migration: &Migration,
) -> Result<Arc<ControlledServer>, Failure> {
    if let Some(server) = slot {
        return Ok(Arc::clone(server));
    }
    let server = ports.catalog.server(name).await?;
    let control = migration.control();
    let provider = ports.providers.of(&server)?;
    let attaching = provider.attach(&server, &control);
    let attached = ports.clock.timeout(budgets.attach, attaching).await;
    let attached = attached.map_err(|_elapsed| ProviderError::Unreachable {
        server: name.clone(),
        reason: format!("no session within {:?}", budgets.attach),
    })??;
    Ok(Arc::clone(slot.insert(Arc::new(attached))))
}
