use std::{sync::Arc, time::Duration};

use futures_util::future::join;

use super::{
    BudgetsOfPair, Failure,
    routes::RoutePublisher,
    sessions::{Both, Sessions, ensure},
};
use crate::{
    Ports, Settings,
    machine::Direction,
    migration::Migration,
    ports::{Clock, ControlledServer, ManagedPromotion, ProviderError},
};

/// What a step works with. It reads the record and returns what it found out; the driver
/// alone changes the record.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) ports: &'a Ports,
    pub(crate) settings: &'a Settings,
    pub(crate) budgets: BudgetsOfPair,
    pub(crate) migration: &'a Migration,
    pub(crate) sessions: &'a mut Sessions,
}

impl<'a> Run<'a> {
    pub(super) fn clock(&self) -> &'a dyn Clock {
        &*self.ports.clock
    }

    pub(super) fn routes(&self) -> RoutePublisher<'a> {
        RoutePublisher {
            ports: self.ports,
            settings: self.settings,
            migration: self.migration,
        }
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

    /// The server that a switch in `direction` takes writers away from.
    pub(super) async fn leaving(
        &mut self,
        direction: Direction,
    ) -> Result<Arc<ControlledServer>, Failure> {
        match direction {
            Direction::Forward => self.source().await,
            Direction::Reverse => self.target().await,
        }
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

/// Bounds what a server is asked to do within `wait`: by itself a statement may take longer
/// than the clients that are parked meanwhile can wait.
pub(super) async fn answered<T>(
    clock: &dyn Clock,
    server: &ControlledServer,
    wait: Duration,
    what: &str,
    asking: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    clock
        .timeout(wait + LAST_LOOK, asking)
        .await
        .unwrap_or_else(|_elapsed| {
            Err(ProviderError::Unreachable {
                server: server.name().clone(),
                reason: format!("no answer for {wait:?} to: {what}"),
            })
        })
}

/// A server that answers says at the end of a wait how far it is.
const LAST_LOOK: Duration = Duration::from_millis(250);
