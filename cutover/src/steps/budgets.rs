use crate::{Ports, Settings, machine::Side, migration::Migration, ports::Budgets};

use super::Failure;

/// How long the two servers of a migration may take for what they are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BudgetsOfPair {
    pub(crate) source: Budgets,
    pub(crate) target: Budgets,
}

impl BudgetsOfPair {
    /// What the servers' providers say, but for what an operator has set.
    pub(crate) async fn of(
        ports: &Ports,
        settings: &Settings,
        migration: &Migration,
    ) -> Result<Self, Failure> {
        let budgets = async |side| {
            let server = ports.catalog.server(migration.server(side)).await?;
            let budgets = ports.providers.of(&server)?.budgets(&server);
            Ok::<_, Failure>(budgets.or_as_set(settings))
        };
        Ok(Self {
            source: budgets(Side::Source).await?,
            target: budgets(Side::Target).await?,
        })
    }

    /// These, while nobody is held.
    pub(super) fn unhurried(self) -> Self {
        Self {
            source: self.source.unhurried(),
            target: self.target.unhurried(),
        }
    }
}
