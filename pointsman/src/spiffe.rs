//! The SPIFFE IDs of this system: each names a sidecar, or a role at the admin listener. The two
//! listeners trust different authorities, so that an authority for sidecars cannot make an
//! operator.
//!
//! ```text
//! spiffe://<trust domain>/pointsman/sidecar/<node>      at the listener for sidecars
//! spiffe://<trust domain>/pointsman/operator/<name>     at the admin listener: everything
//! spiffe://<trust domain>/pointsman/viewer/<name>       at the admin listener: reading
//! ```
//!
//! The control plane itself may have any name; the bootstrap of a sidecar tells it which.

use pointsman_catalog::NodeId;
use pointsman_xds::Identity;

/// The rights of a caller of the admin API.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum AdminRole {
    /// Reads.
    Viewer,
    /// Commands the fleet.
    Operator,
}

impl AdminRole {
    /// The role that a certificate gives, if any.
    pub(crate) fn of(identity: &Identity) -> Option<Self> {
        match parts(identity)? {
            ("operator", _name) => Some(Self::Operator),
            ("viewer", _name) => Some(Self::Viewer),
            _ => None,
        }
    }

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

/// The sidecar that a certificate names, if any.
pub(crate) fn sidecar(identity: &Identity) -> Option<NodeId> {
    match parts(identity)? {
        ("sidecar", node) => NodeId::new(node).ok(),
        _ => None,
    }
}

/// Kind and name of a path of the form `/pointsman/KIND/NAME`.
fn parts(identity: &Identity) -> Option<(&str, &str)> {
    let (kind, name) = identity
        .path()
        .strip_prefix("/pointsman/")?
        .split_once('/')?;
    (!name.contains('/')).then_some((kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(path: &str) -> Identity {
        Identity::new(&format!("spiffe://example.org{path}")).unwrap()
    }

    #[test]
    fn a_path_names_a_sidecar_or_a_role_and_never_both() {
        let app = identity("/pointsman/sidecar/app-1");
        assert_eq!(sidecar(&app), NodeId::new("app-1").ok());
        assert_eq!(AdminRole::of(&app), None);
        let ann = identity("/pointsman/operator/ann");
        assert_eq!(sidecar(&ann), None);
        assert_eq!(AdminRole::of(&ann), Some(AdminRole::Operator));
        assert_eq!(
            AdminRole::of(&identity("/pointsman/viewer/bob")),
            Some(AdminRole::Viewer)
        );
    }

    #[test]
    fn a_path_of_another_form_names_nobody() {
        for path in [
            "",
            "/app-1",
            "/pointsman",
            "/pointsman/operator",
            "/pointsman/operator/ann/more",
            "/pointsman/sidecar/app-1/more",
            "/other/operator/ann",
            "/pointsman/Operator/ann",
        ] {
            assert_eq!(AdminRole::of(&identity(path)), None, "{path}");
            assert_eq!(sidecar(&identity(path)), None, "{path}");
        }
    }
}
