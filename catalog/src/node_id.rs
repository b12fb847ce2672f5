use std::{borrow::Borrow, fmt};

use serde::{Deserialize, Serialize};

use crate::names::{GroupName, NameError, check};

/// The name of one sidecar in barriers, status and records.
///
/// That of a registered sidecar is the operator's, `app-1`. That of a member of a sidecar group is made
/// from its certificate: `orders/web/blue@pod-7` is the member of group `orders` whose SPIFFE ID goes on
/// with `web/blue` after the group's prefix, and that calls itself `pod-7`. The slash keeps the two
/// kinds apart.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(String);

/// Why a text is no name of a sidecar.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NodeIdError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(
        "{0:?} is no name of a group's member: GROUP/PATH or GROUP/PATH@INSTANCE, {MAX_LEN} bytes at most, \
         path and instance of the characters A-Z, a-z, 0-9, dot, dash and underscore"
    )]
    Member(String),
}

impl NodeId {
    /// Checks a name of either kind.
    pub fn new(id: impl Into<String>) -> Result<Self, NodeIdError> {
        let id = id.into();
        if is_member(&id) {
            return Ok(Self(id));
        }
        if id.contains('/') {
            return Err(NodeIdError::Member(id));
        }
        Ok(Self::registered(id)?)
    }

    /// Checks the name of a sidecar that is to be registered.
    pub fn registered(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        check("node", &name)?;
        Ok(Self(name))
    }

    /// The name of the member of `group` whose identity goes on with `path`, and that calls itself
    /// `instance`. One that calls itself by the group's name has no name of its own.
    pub fn member(group: &GroupName, path: &str, instance: &str) -> Result<Self, NodeIdError> {
        let id = if instance == group.as_str() {
            format!("{group}/{path}")
        } else {
            format!("{group}/{path}@{instance}")
        };
        if is_member(&id) {
            Ok(Self(id))
        } else {
            Err(NodeIdError::Member(id))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is that of a member of a sidecar group.
    pub fn is_member(&self) -> bool {
        self.0.contains('/')
    }

    /// The name up to the instance, which members with one identity share.
    pub fn without_instance(&self) -> &str {
        self.0.split('@').next().unwrap_or(&self.0)
    }
}

/// `GROUP/SEGMENT[/SEGMENT…][@INSTANCE]`.
fn is_member(id: &str) -> bool {
    let (named, instance) = match id.split_once('@') {
        Some((named, instance)) => (named, Some(instance)),
        None => (id, None),
    };
    let Some((group, path)) = named.split_once('/') else {
        return false;
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(allowed);
    id.len() <= MAX_LEN
        && check("group", group).is_ok()
        && path.split('/').all(is_segment)
        && instance.is_none_or(is_segment)
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;

    fn try_from(id: String) -> Result<Self, NodeIdError> {
        Self::new(id)
    }
}

impl std::str::FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(id: &str) -> Result<Self, NodeIdError> {
        Self::new(id)
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.0
    }
}

impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In bytes, of a member's name: it is shown, logged and recorded.
const MAX_LEN: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_name_has_a_group_a_path_and_perhaps_an_instance() {
        let orders = GroupName::new("orders").unwrap();
        let member = |path, instance| NodeId::member(&orders, path, instance);
        let pod = member("web/Blue", "pod-7").unwrap();
        assert_eq!(pod.as_str(), "orders/web/Blue@pod-7");
        assert_eq!(pod.without_instance(), "orders/web/Blue");
        let alone = member("web", "orders").unwrap();
        assert_eq!(alone.as_str(), "orders/web");
        for id in [&pod, &alone] {
            assert!(id.is_member());
            assert_eq!(NodeId::new(id.as_str()).as_ref(), Ok(id));
        }
        for (path, instance) in [
            ("", "a"),
            ("web", ""),
            ("web", "a/b"),
            ("web", "a@b"),
            ("we b", "a"),
            ("web", "é"),
            ("web", &"x".repeat(250)),
        ] {
            assert!(member(path, instance).is_err(), "{path:?} {instance:?}");
        }
    }

    #[test]
    fn no_registered_name_is_a_members() {
        assert!(!NodeId::new("app-1").unwrap().is_member());
        for id in ["orders/web", "Orders/web", "/web", "orders/", "orders@a"] {
            assert!(NodeId::registered(id).is_err(), "{id}");
        }
        for id in ["Orders/web", "/web", "orders/", "orders@a", ""] {
            assert!(NodeId::new(id).is_err(), "{id}");
        }
    }
}
