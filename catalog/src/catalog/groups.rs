//! The sidecar groups.

use serde::{Deserialize, Serialize};

use super::{Catalog, CatalogError, GROUPS, Registered, Registration, key, retried, write};
use crate::{
    GroupName, SidecarGroup,
    store::{
        Key, Precondition, Revision, Write,
        record::{Format, Record},
    },
};

impl Record for SidecarGroup {
    const FORMAT: Format = Format(1);
}

/// Written by each change of the groups, so that two of them conflict: whether patterns overlap is a
/// matter of all groups.
#[derive(Deserialize, Serialize)]
struct GroupsMark {}

impl Record for GroupsMark {
    const FORMAT: Format = Format(1);
}

impl Catalog {
    /// Every sidecar group, by name.
    pub async fn groups(&self) -> Result<Vec<SidecarGroup>, CatalogError> {
        self.all(GROUPS).await
    }

    /// The group `name`.
    ///
    /// # Errors
    /// [`CatalogError::UnknownGroup`], with those that are known.
    pub async fn group(&self, name: &GroupName) -> Result<SidecarGroup, CatalogError> {
        match self.value(&key(GROUPS, name)).await? {
            Some((group, _)) => Ok(group),
            None => Err(self.unknown_group(name).await?),
        }
    }

    /// Declares a sidecar group. One that is known already gets the databases and the listen address
    /// of `group`; its pattern stays, since its members' names are made with it.
    ///
    /// # Errors
    /// [`CatalogError::GroupClash`] if the pattern is another one than before, or admits an identity
    /// that another group admits, too, or if there are [`Catalog::MAX_GROUPS`] already.
    /// [`CatalogError::UnknownDatabase`], with those that are declared.
    pub async fn add_group(&self, group: SidecarGroup) -> Result<Registration, CatalogError> {
        for name in group.databases.iter().flatten() {
            self.database(name).await?;
        }
        retried(|| self.try_add_group(&group)).await
    }

    /// Removes a sidecar group: nobody is a member of it any more. Returns the commit.
    ///
    /// # Errors
    /// [`CatalogError::UnknownGroup`], with those that are known.
    pub async fn remove_group(&self, name: &GroupName) -> Result<Revision, CatalogError> {
        retried(|| self.try_remove_group(name)).await
    }

    /// How many groups there may be.
    pub const MAX_GROUPS: usize = 1_000;

    async fn try_add_group(&self, group: &SidecarGroup) -> Result<Registration, CatalogError> {
        let mark = self.groups_mark().await?;
        let known = self.values::<GroupName, SidecarGroup>(GROUPS).await?;
        let mut group = group.clone();
        let (when, outcome) = match known.get(&group.name) {
            None => (Precondition::Absent, Registered::New),
            Some((before, _)) if before.pattern != group.pattern => {
                return Err(CatalogError::GroupClash(format!(
                    "group {} admits {}, and the names of its members are made with that: remove it \
                     first, or add another one",
                    group.name, before.pattern
                )));
            }
            Some((before, revision)) => {
                group.declared_at = before.declared_at;
                if *before == group {
                    return Ok(Registration {
                        outcome: Registered::Unchanged,
                        revision: None,
                    });
                }
                (Precondition::At(*revision), Registered::Changed)
            }
        };
        if outcome == Registered::New && known.len() >= Self::MAX_GROUPS {
            return Err(CatalogError::GroupClash(format!(
                "there are {} groups already: remove one that is not used, or take a wider pattern",
                known.len()
            )));
        }
        let mut others = known.values().map(|(other, _)| other);
        let other =
            others.find(|other| other.name != group.name && other.pattern.overlaps(&group.pattern));
        if let Some(other) = other {
            return Err(CatalogError::GroupClash(format!(
                "{} of group {} and {} of group {} admit the same identity: a sidecar is in one group \
                 at most, so choose patterns that exclude each other",
                group.pattern, group.name, other.pattern, other.name
            )));
        }
        let written = write(key(GROUPS, &group.name), &group, when)?;
        let revision = self.store.commit(vec![written, mark]).await?;
        Ok(Registration {
            outcome,
            revision: Some(revision),
        })
    }

    async fn try_remove_group(&self, name: &GroupName) -> Result<Revision, CatalogError> {
        let mark = self.groups_mark().await?;
        let at = key(GROUPS, name);
        let Some((_, revision)) = self.value::<SidecarGroup>(&at).await? else {
            return Err(self.unknown_group(name).await?);
        };
        let removed = Write {
            key: at,
            value: None,
            when: Precondition::At(revision),
        };
        Ok(self.store.commit(vec![removed, mark]).await?)
    }

    async fn groups_mark(&self) -> Result<Write, CatalogError> {
        let at = Key::new(MARK);
        let last = self.store.get(&at).await?;
        let when = last.map_or(Precondition::Absent, |last| Precondition::At(last.revision));
        Ok(write(at, &GroupsMark {}, when)?)
    }

    async fn unknown_group(&self, name: &GroupName) -> Result<CatalogError, CatalogError> {
        Ok(CatalogError::UnknownGroup {
            name: name.clone(),
            known: self.names(GROUPS).await?,
        })
    }
}

const MARK: &str = "sidecar-groups-changed";
