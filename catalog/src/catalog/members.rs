//! The members of sidecar groups.

use super::{Catalog, CatalogError, MEMBERS, key, write};
use crate::{
    GroupMember, NodeId,
    store::{
        Precondition, Write,
        record::{Format, Record},
    },
};

impl Record for GroupMember {
    const FORMAT: Format = Format(1);
}

impl Catalog {
    /// Every member on record, by name.
    pub async fn members(&self) -> Result<Vec<GroupMember>, CatalogError> {
        self.all(MEMBERS).await
    }

    /// Records who has come and who has gone, in one commit.
    pub async fn record_members(
        &self,
        came: impl IntoIterator<Item = &GroupMember>,
        went: impl IntoIterator<Item = &NodeId>,
    ) -> Result<(), CatalogError> {
        let came = came.into_iter();
        let came = came.map(|member| write(key(MEMBERS, &member.id), member, Precondition::Any));
        let went = went.into_iter().map(|id| {
            Ok(Write {
                key: key(MEMBERS, id),
                value: None,
                when: Precondition::Any,
            })
        });
        let writes: Vec<_> = came.chain(went).collect::<Result<_, _>>()?;
        if !writes.is_empty() {
            self.store.commit(writes).await?;
        }
        Ok(())
    }
}
