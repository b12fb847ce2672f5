//! Readers that an undo served elsewhere return to their former endpoints.

use std::collections::BTreeMap;

use pointsman_catalog::{Role, RouteChange};
use serde_json::json;

use super::{Failure, Proof, Run, routes::serve};
use crate::machine::Event;

/// Publishes the reader routes of before the first hold, once the target answers and lets
/// connections in again.
pub(super) async fn restore(run: &mut Run<'_>) -> Result<Proof, Failure> {
    if !target_lets_readers_in(run).await? {
        let proof = Proof::new("the target is not open yet", json!({}));
        return Ok(Proof {
            event: Event::NotYet,
            ..proof
        });
    }
    let routes = run.ports.catalog.routes().await?;
    let changes: BTreeMap<_, _> = run
        .migration
        .facts
        .former_readers()
        .iter()
        .map(|(name, servers)| {
            let change = RouteChange {
                writer: None,
                reader: Some(serve(servers.clone(), routes.get(name), Role::Reader)),
            };
            (name.clone(), change)
        })
        .collect();
    run.ports.data_plane.publish(&changes).await?;
    Ok(Proof::new(
        "readers are served by their former endpoints again",
        json!({}),
    ))
}

/// Whether the target, closed by a fence that was taken back, has replayed its opening.
async fn target_lets_readers_in(run: &mut Run<'_>) -> Result<bool, Failure> {
    let target = run.target().await?;
    let observed = target.observe().await?;
    let open = |datname: &String| {
        observed
            .databases
            .iter()
            .any(|database| database.datname == *datname && database.allow_connections)
    };
    Ok(observed.in_recovery && run.migration.moving().iter().all(open))
}
