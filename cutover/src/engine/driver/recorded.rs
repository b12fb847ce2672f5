use pointsman_catalog::store::Revision;

use crate::{
    journal::{Entry, Journal, JournalError},
    migration::Migration,
};

/// A migration as it is on the disk.
#[derive(Debug)]
pub(in crate::engine) struct Recorded {
    pub(in crate::engine) migration: Migration,
    pub(in crate::engine) revision: Revision,
    pub(in crate::engine) entries: Vec<Entry>,
}

impl Recorded {
    /// The migration `name` as the store has it, with its whole journal.
    pub(in crate::engine) async fn read(
        journal: &Journal,
        name: &str,
    ) -> Result<Self, JournalError> {
        let (migration, revision) = journal.migration(name).await?;
        Ok(Self {
            entries: journal.entries(name).await?,
            migration,
            revision,
        })
    }
}
