use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{DatabaseName, GroupName, IdentityPattern, UnixMillis};

/// Sidecars that nobody registers one by one. A sidecar that proves an identity that the pattern
/// admits is a member.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SidecarGroup {
    pub name: GroupName,
    pub pattern: IdentityPattern,
    /// The databases that its members may use; `None` means all, also those that are declared later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<BTreeSet<DatabaseName>>,
    /// Where every member listens; `None` means where each says that it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<IpAddr>,
    pub declared_at: UnixMillis,
}
