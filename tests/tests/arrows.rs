//! The arrows of the architecture: what each crate may not reach, not even through others.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};

/// The crates that `package` is built from, itself excepted; tests' dependencies do not count.
fn reach(package: &str) -> Result<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal,build"])
        .args(["--all-features", "--prefix", "none", "--format", "{p}"])
        .arg("--locked")
        .current_dir(root)
        .output()?;
    ensure!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let names: Vec<_> = names.skip(1).map(str::to_owned).collect();
    ensure!(!names.is_empty(), "cargo tree shows nothing for {package}");
    Ok(names)
}

/// What `package` reaches of what `banned` names; a `*` at the end stands for anything.
fn culprits(package: &str, banned: &[&str]) -> Result<Vec<String>> {
    let mut found = reach(package).with_context(|| package.to_owned())?;
    found.retain(|name| {
        banned.iter().any(|banned| match banned.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == banned,
        })
    });
    Ok(found)
}

fn reaches_none(package: &str, banned: &[&str]) -> Result<()> {
    let found = culprits(package, banned)?;
    ensure!(found.is_empty(), "{package} reaches {found:?}");
    Ok(())
}

#[test]
fn the_xds_library_knows_no_database_no_disk_no_cloud_and_none_of_us() -> Result<()> {
    let banned = [
        "redb",
        "tokio-postgres",
        "postgres-*",
        "aws-sdk-*",
        "aws-config",
        "aws-smithy-*",
        "pointsman-*",
    ];
    reaches_none("pointsman-xds", &banned)
}

#[test]
fn the_switch_sees_neither_envoy_nor_grpc() -> Result<()> {
    let banned = [
        "tonic",
        "envoy-types",
        "pointsman-xds",
        "pointsman-envoy-config",
    ];
    reaches_none("pointsman-cutover", &banned)
}

#[test]
fn the_catalogue_sees_no_envoy_no_sql_and_no_grpc() -> Result<()> {
    let banned = ["tonic", "tokio-postgres", "envoy-types"];
    reaches_none("pointsman-catalog", &banned)?;
    reaches_none("pointsman-catalog", &["pointsman-*"])
}

#[test]
fn the_admin_api_is_types_only() -> Result<()> {
    reaches_none(
        "pointsman-proto",
        &["redb", "tokio-postgres", "pointsman-*"],
    )
}

#[test]
fn the_rendering_of_routes_is_pure() -> Result<()> {
    let banned = ["tokio-postgres", "pointsman-cutover", "pointsman"];
    reaches_none("pointsman-envoy-config", &banned)
}

#[test]
fn the_lab_knows_none_of_us_but_the_catalogue() -> Result<()> {
    let banned = [
        "pointsman",
        "pointsman-cutover",
        "pointsman-envoy-config",
        "pointsman-proto",
        "pointsman-tests",
        "pointsman-xds",
    ];
    reaches_none("pointsman-lab", &banned)
}

/// What a user runs or depends on.
const SHIPPED: [&str; 6] = [
    "pointsman",
    "pointsman-catalog",
    "pointsman-cutover",
    "pointsman-envoy-config",
    "pointsman-proto",
    "pointsman-xds",
];

#[test]
fn only_tests_reach_the_lab() -> Result<()> {
    SHIPPED
        .into_iter()
        .try_for_each(|package| reaches_none(package, &["pointsman-lab"]))
}

#[test]
fn no_shipped_crate_reaches_the_model_or_the_simulation() -> Result<()> {
    let banned = ["pointsman-model", "pointsman-simulate", "stateright"];
    SHIPPED
        .into_iter()
        .try_for_each(|package| reaches_none(package, &banned))
}

#[test]
fn the_check_sees_what_is_reached_through_others() -> Result<()> {
    assert!(!culprits("pointsman", &["redb"])?.is_empty());
    Ok(())
}
