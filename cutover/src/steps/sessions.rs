use std::time::Duration;

use pointsman_catalog::{Catalog, ServerName};

use super::Failure;
use crate::{
    migration::Migration,
    ports::{ControlId, ControlledServer, DatabaseProvider, ProviderError},
};

/// The control sessions of a migration's two servers, opened when first needed.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    source: Option<Box<dyn ControlledServer>>,
    target: Option<Box<dyn ControlledServer>>,
}

/// Both servers of a switch, under control.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Both<'a> {
    pub(crate) source: &'a dyn ControlledServer,
    pub(crate) target: &'a dyn ControlledServer,
}

impl Sessions {
    /// Forgets every session. The next use opens new ones, which ends the old ones on the
    /// server when the epoch has grown.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Both servers, in parallel where they must be reached first.
    pub(crate) async fn both(
        &mut self,
        provider: &dyn DatabaseProvider,
        catalog: &Catalog,
        migration: &Migration,
    ) -> Result<Both<'_>, Failure> {
        let control = migration.control();
        let (source, target) = futures_util::future::join(
            ensure(
                &mut self.source,
                provider,
                catalog,
                &migration.source,
                &control,
            ),
            ensure(
                &mut self.target,
                provider,
                catalog,
                &migration.target,
                &control,
            ),
        )
        .await;
        Ok(Both {
            source: source?,
            target: target?,
        })
    }

    /// The source alone: an undo must not wait for a target that is gone.
    pub(crate) async fn source(
        &mut self,
        provider: &dyn DatabaseProvider,
        catalog: &Catalog,
        migration: &Migration,
    ) -> Result<&dyn ControlledServer, Failure> {
        let control = migration.control();
        ensure(
            &mut self.source,
            provider,
            catalog,
            &migration.source,
            &control,
        )
        .await
    }

    /// The target alone.
    pub(crate) async fn target(
        &mut self,
        provider: &dyn DatabaseProvider,
        catalog: &Catalog,
        migration: &Migration,
    ) -> Result<&dyn ControlledServer, Failure> {
        let control = migration.control();
        ensure(
            &mut self.target,
            provider,
            catalog,
            &migration.target,
            &control,
        )
        .await
    }
}

/// Opens the sessions into `datnames`, behind the fence where there is one. Returns the
/// transactions that this took.
///
/// A new process has none of the former one's sessions. An armed source lets superusers in,
/// a closed server lets nobody in.
pub(super) async fn enter(
    server: &dyn ControlledServer,
    datnames: &[String],
) -> Result<Vec<u64>, ProviderError> {
    match server.open_databases(datnames).await {
        Ok(()) => Ok(Vec::new()),
        Err(_) => server.reenter_databases(datnames).await,
    }
}

async fn ensure<'a>(
    slot: &'a mut Option<Box<dyn ControlledServer>>,
    provider: &dyn DatabaseProvider,
    catalog: &Catalog,
    name: &ServerName,
    control: &ControlId,
) -> Result<&'a dyn ControlledServer, Failure> {
    if slot.is_none() {
        let server = catalog.server(name).await?;
        let attached = tokio::time::timeout(ATTACH, provider.attach(&server, control)).await;
        *slot = Some(attached.map_err(|_elapsed| {
            Failure::from(ProviderError::Unreachable {
                server: name.clone(),
                words: format!("no session within {ATTACH:?}"),
            })
        })??);
    }
    slot.as_deref()
        .ok_or_else(|| Failure::new(format!("no session to {name}")))
}

/// A server in the same region answers within milliseconds; one that needs longer cannot
/// be part of a switch.
const ATTACH: Duration = Duration::from_secs(2);
