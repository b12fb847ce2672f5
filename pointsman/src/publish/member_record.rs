//! Keeps the members of sidecar groups on record, for the next process.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pointsman_catalog::{Catalog, CatalogError, Chain, GroupMember, NodeId};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::registry::Registry;

/// Writes to the catalogue who has come and who has gone. A member is served before it is on record:
/// should this process end in between, the member is back within its back-off.
#[derive(Debug)]
pub(super) struct MemberRecord {
    catalog: Arc<Catalog>,
    registry: Arc<Registry>,
    recorded: BTreeMap<NodeId, GroupMember>,
}

impl MemberRecord {
    /// Has the members of a former process awaited, as if they had gone silent just now.
    pub(super) async fn restore(
        catalog: Arc<Catalog>,
        registry: Arc<Registry>,
    ) -> Result<Self, CatalogError> {
        let members = catalog.members().await?;
        registry.expect(&members);
        let recorded = members.into_iter();
        Ok(Self {
            recorded: recorded.map(|member| (member.id.clone(), member)).collect(),
            catalog,
            registry,
        })
    }

    /// Records changes until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(COMMIT_INTERVAL) => {}
            }
            if let Err(error) = self.record().await {
                warn!(error = %Chain(&error), "the members of sidecar groups could not be recorded");
            }
        }
    }

    async fn record(&mut self) -> Result<(), CatalogError> {
        let members = self.registry.members();
        let came = members
            .iter()
            .filter(|(id, member)| self.recorded.get(*id) != Some(member))
            .map(|(_, member)| member);
        let went = self.recorded.keys().filter(|id| !members.contains_key(*id));
        self.catalog.record_members(came, went).await?;
        self.recorded = members;
        Ok(())
    }
}

/// From one commit to the next: a deployment that rolls changes several members a second.
const COMMIT_INTERVAL: Duration = Duration::from_millis(250);
