//! What the catalogue keeps true of sidecar groups.

use std::sync::Arc;

use pointsman_catalog::{
    Catalog, DatabaseName, GroupName, Registered, SidecarGroup, UnixMillis, store::EmbeddedStore,
};
use tempfile::TempDir;

fn empty() -> (Catalog, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::create(dir.path()).unwrap();
    (Catalog::new(Arc::new(store)), dir)
}

fn group(name: &str, pattern: &str) -> SidecarGroup {
    SidecarGroup {
        name: GroupName::new(name).unwrap(),
        pattern: pattern.parse().unwrap(),
        databases: None,
        listen: None,
        declared_at: UnixMillis(1),
    }
}

#[tokio::test]
async fn two_groups_never_admit_one_identity() {
    let (catalog, _dir) = empty();
    let web = group("web", "spiffe://example.org/shop/*");
    let added = catalog.add_group(web.clone()).await.unwrap();
    assert_eq!(added.outcome, Registered::New);
    for (name, pattern, named) in [
        ("all", "spiffe://example.org/*", "of group web"),
        ("one", "spiffe://example.org/shop/a", "of group web"),
        ("web", "spiffe://example.org/other/*", "remove it"),
    ] {
        let refused = catalog.add_group(group(name, pattern)).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
    let again = catalog.add_group(web.clone()).await.unwrap();
    assert_eq!(again.outcome, Registered::Unchanged);
    assert_eq!(catalog.groups().await.unwrap(), std::slice::from_ref(&web));
    // Each of these alone would do.
    let other = catalog.add_group(group("other", "spiffe://example.org/other/*"));
    let clash = catalog.add_group(group("clash", "spiffe://example.org/other/a"));
    let (other, clash) = tokio::join!(other, clash);
    assert!(other.is_ok() != clash.is_ok(), "{other:?} {clash:?}");
    catalog.remove_group(&web.name).await.unwrap();
    let error = catalog.group(&web.name).await.unwrap_err().to_string();
    assert!(
        error.starts_with("there is no sidecar group web"),
        "{error}"
    );
}

#[tokio::test]
async fn a_group_changes_what_its_members_may_see_and_keeps_its_pattern() {
    let (catalog, _dir) = empty();
    let web = group("web", "spiffe://example.org/shop/*");
    let unknown = DatabaseName::new("nowhere").unwrap();
    let refused = catalog.add_group(SidecarGroup {
        databases: Some([unknown].into()),
        ..web.clone()
    });
    refused.await.unwrap_err();
    catalog.add_group(web.clone()).await.unwrap();
    let moved = SidecarGroup {
        listen: Some([127, 0, 0, 1].into()),
        declared_at: UnixMillis(2),
        ..web.clone()
    };
    let changed = catalog.add_group(moved.clone()).await.unwrap();
    assert_eq!(changed.outcome, Registered::Changed);
    let found = catalog.group(&web.name).await.unwrap();
    assert_eq!(found.listen, moved.listen);
    assert_eq!(found.declared_at, web.declared_at);
}
