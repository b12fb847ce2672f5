use std::{sync::Arc, time::Duration};

use pointsman_catalog::ServerName;

use super::Failure;
use crate::{
    Ports,
    migration::Migration,
    ports::{Budgets, ControlledServer, ProviderError, SessionControl},
};

/// The control sessions of a migration's two servers, opened when first needed.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(super) source: Option<Arc<ControlledServer>>,
    pub(super) target: Option<Arc<ControlledServer>>,
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

    /// Forgets those on the target. The next use opens new ones.
    pub(super) fn forget_target(&mut self) {
        self.target = None;
    }

    /// Forgets those on the source. The next use opens new ones.
    pub(super) fn forget_source(&mut self) {
        self.source = None;
    }
}

/// Opens the sessions into `datnames`, behind the fence where there is one.
///
/// A new process has none of the former one's sessions. An armed source lets superusers in,
/// a closed server lets nobody in.
pub(super) async fn enter(
    server: &ControlledServer,
    datnames: &[String],
) -> Result<(), ProviderError> {
    match server.sessions()?.open_databases(datnames).await {
        Err(ProviderError::Closed { .. }) => server.sessions()?.reenter_databases(datnames).await,
        // Any other error does not say that the server is closed.
        outcome => outcome,
    }
}

/// The session in `slot`, opened where there is none, or where a server that crashed has ended it.
pub(super) async fn ensure(
    slot: &mut Option<Arc<ControlledServer>>,
    ports: &Ports,
    (name, budgets): (&ServerName, Budgets),
    migration: &Migration,
) -> Result<Arc<ControlledServer>, Failure> {
    if let Some(server) = slot
        && !server.sessions().is_ok_and(SessionControl::is_lost)
    {
        return Ok(Arc::clone(server));
    }
    let server = ports.catalog.server(name).await?;
    let control = migration.control();
    let provider = ports.providers.of(&server)?;
    // A server that gave no answer may be busy, and is asked again; one that refused has answered.
    let attaching = async {
        loop {
            let began = ports.clock.monotonic();
            let attached = provider.attach(&server, &control).await;
            let unreachable = matches!(attached, Err(ProviderError::Unreachable { .. }));
            if !unreachable || ports.clock.elapsed(began) < NO_ANSWER {
                break attached;
            }
        }
    };
    let attached = ports.clock.timeout(budgets.attach, attaching).await;
    let attached = attached.map_err(|_elapsed| ProviderError::Unreachable {
        server: name.clone(),
        reason: format!("no session within {:?}", budgets.attach),
    })??;
    Ok(Arc::clone(slot.insert(Arc::new(attached))))
}

/// What failed sooner was refused.
const NO_ANSWER: Duration = Duration::from_secs(1);
