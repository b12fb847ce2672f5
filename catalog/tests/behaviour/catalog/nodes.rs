//! Sidecars that are registered by name.

use pointsman_catalog::Registered;
use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn a_sidecar_is_registered_moved_and_retired() {
    let (catalog, _dir) = empty();
    let register = async |node: Node| catalog.register(node).await.unwrap().outcome;
    assert_eq!(register(node("sc0", "127.0.1.1")).await, Registered::New);
    let later = Node {
        registered_at: UnixMillis(2),
        ..node("sc0", "127.0.1.1")
    };
    assert_eq!(register(later).await, Registered::Unchanged);
    assert_eq!(catalog.nodes().await.unwrap(), [node("sc0", "127.0.1.1")]);
    assert_eq!(register(node("sc0", "127.0.1.2")).await, Registered::Moved);
    let id = NodeId::new("sc0").unwrap();
    let found = catalog.node(&id).await.unwrap();
    assert_eq!(found, Some(node("sc0", "127.0.1.2")));
    catalog.retire(&id).await.unwrap();
    assert_eq!(catalog.node(&id).await.unwrap(), None);
    assert_eq!(catalog.nodes().await.unwrap(), []);
}

#[tokio::test]
async fn a_canary_stays_one_when_it_moves() {
    let (catalog, _dir) = empty();
    let id = NodeId::new("sc0").unwrap();
    let unknown = catalog.set_canary(&id, true).await.unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no sidecar sc0; registered: none"
    );
    catalog.register(node("sc0", "127.0.1.1")).await.unwrap();
    assert!(catalog.set_canary(&id, true).await.unwrap().is_some());
    assert_eq!(catalog.set_canary(&id, true).await.unwrap(), None);
    catalog.register(node("sc0", "127.0.1.2")).await.unwrap();
    assert!(catalog.node(&id).await.unwrap().unwrap().canary);
    catalog.set_canary(&id, false).await.unwrap();
    assert!(!catalog.node(&id).await.unwrap().unwrap().canary);
}

#[tokio::test]
async fn sidecars_that_register_at_once_are_all_there() {
    let (catalog, _dir) = empty();
    let mut tasks = JoinSet::new();
    for number in 0..20 {
        let catalog = catalog.clone();
        // Each twice, as a sidecar that restarts does.
        let name = format!("sc{}", number / 2);
        tasks.spawn(async move { catalog.register(node(&name, "127.0.1.1")).await });
    }
    let outcomes = tasks.join_all().await;
    let new = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(done) if done.outcome == Registered::New));
    assert_eq!(new.count(), 10, "{outcomes:?}");
    assert_eq!(catalog.nodes().await.unwrap().len(), 10);
}
