//! Sidecar groups.

use std::collections::BTreeSet;

use pointsman_catalog::{DatabaseName, GroupName, IdentityPattern, Registered, SidecarGroup};
use pointsman_proto::v1;
use pointsman_xds::Identity;
use tonic::Status;

use super::{databases, published, status};
use crate::admin::{
    context::AdminContext,
    grpc_status::{invalid, refuse},
};

pub(in crate::admin) async fn add(
    admin: &AdminContext,
    request: v1::AddGroupRequest,
) -> Result<v1::AddGroupResponse, Status> {
    let v1::AddGroupRequest {
        name,
        spiffe,
        listen,
        databases: names,
        all_databases,
    } = request;
    let name = GroupName::new(name).map_err(invalid)?;
    let pattern = IdentityPattern::new(spiffe).map_err(invalid)?;
    check_trust_domain(admin, &name, &pattern)?;
    let listen = match listen.as_str() {
        "" => None,
        address => Some(address.parse().map_err(|_error| {
            invalid(format_args!(
                "the listen address of group {name} is {address:?}; allowed: an IP address"
            ))
        })?),
    };
    let group = SidecarGroup {
        databases: entitlement(&name, &names, all_databases)?,
        name,
        pattern,
        listen,
        declared_at: admin.clock.now(),
    };
    let added = admin.catalog.add_group(group).await.map_err(refuse)?;
    published(admin, added.revision).await?;
    let outcome = match added.outcome {
        Registered::New => "new",
        Registered::Unchanged => "unchanged",
        Registered::Moved | Registered::Changed => "changed",
    };
    Ok(v1::AddGroupResponse {
        outcome: outcome.to_owned(),
    })
}

/// Lists all groups, or the group `only` with its members.
pub(in crate::admin) async fn list(
    admin: &AdminContext,
    only: &str,
) -> Result<v1::ListGroupsResponse, Status> {
    let groups = if only.is_empty() {
        admin.catalog.groups().await.map_err(refuse)?
    } else {
        let name = GroupName::new(only).map_err(invalid)?;
        vec![admin.catalog.group(&name).await.map_err(refuse)?]
    };
    let nodes = status(admin).nodes;
    let groups = groups.into_iter().map(|group| {
        let of_group = nodes
            .iter()
            .filter(|node| node.group == group.name.as_str());
        let members = of_group.clone().count();
        let connected = of_group.clone().filter(|node| node.connected).count();
        v1::Group {
            members: count(members),
            connected: count(connected),
            nodes: match only {
                "" => Vec::new(),
                _ => of_group.cloned().collect(),
            },
            ..message(group)
        }
    });
    Ok(v1::ListGroupsResponse {
        groups: groups.collect(),
    })
}

pub(in crate::admin) async fn remove(
    admin: &AdminContext,
    name: &str,
) -> Result<v1::RemoveGroupResponse, Status> {
    let name = GroupName::new(name).map_err(invalid)?;
    let nodes = status(admin).nodes.into_iter();
    let members = nodes.filter(|node| node.group == name.as_str()).count();
    let revision = admin.catalog.remove_group(&name).await.map_err(refuse)?;
    published(admin, Some(revision)).await?;
    Ok(v1::RemoveGroupResponse {
        members: count(members),
    })
}

/// Members prove who they are by certificate, and all certificates are of one trust domain.
fn check_trust_domain(
    admin: &AdminContext,
    name: &GroupName,
    pattern: &IdentityPattern,
) -> Result<(), Status> {
    let Ok(own) = Identity::new(&admin.xds_identity) else {
        return Err(Status::failed_precondition(format!(
            "group {name} would have no members: sidecars prove nothing over plain text; start the \
             control plane with --xds-tls-cert, or register each sidecar (fleet register)"
        )));
    };
    if own.trust_domain() != pattern.trust_domain() {
        return Err(invalid(format_args!(
            "group {name} would have no members: certificates of trust domain {} alone are accepted, \
             and {pattern} is of another",
            own.trust_domain()
        )));
    }
    Ok(())
}

fn entitlement(
    group: &GroupName,
    names: &[String],
    all: bool,
) -> Result<Option<BTreeSet<DatabaseName>>, Status> {
    let names: BTreeSet<_> = names
        .iter()
        .map(|name| DatabaseName::new(name.as_str()))
        .collect::<Result<_, _>>()
        .map_err(invalid)?;
    match (names.is_empty(), all) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(names)),
        (true, false) | (false, true) => Err(invalid(format_args!(
            "which databases may the members of group {group} see? Say --database NAME for each, or \
             --all-databases"
        ))),
    }
}

fn message(group: SidecarGroup) -> v1::Group {
    let SidecarGroup {
        name,
        pattern,
        databases: names,
        listen,
        declared_at,
    } = group;
    v1::Group {
        name: name.into(),
        spiffe: pattern.into(),
        listen: listen.map_or_else(String::new, |ip| ip.to_string()),
        databases: names.map(databases),
        declared_ms: declared_at.0,
        ..v1::Group::default()
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
