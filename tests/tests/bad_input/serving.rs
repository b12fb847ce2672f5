//! What keeps `serve` from serving.

use std::{fs, path::Path};

use anyhow::Result;
use pointsman_lab::{control_plane::ControlPlane, ports::Port, scratch::Scratch};

use super::table::{Case, check_all};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_store_needs_init() -> Result<()> {
    let scratch = Scratch::new()?;
    let (xds, admin) = (Port::reserve()?, Port::reserve()?);
    let (xds, admin) = (xds.on_loopback(), admin.on_loopback());
    let data = scratch.path().join("nowhere");
    let line = format!("serve --data-dir {{}} --xds-listen {xds} --admin-listen {admin}");
    let missing = Case::new("a store that is missing", &line, &[&data], 1)
        .says(format!("store {}", data.join("pointsman.redb").display()))
        .says("does not exist")
        .says("an empty registry would make every barrier true")
        .says("serve --init")
        .says("pointsman recover");
    check_all(admin, [missing]).await?;
    assert!(!data.exists(), "a store was made without being asked for");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_taken_there_already_or_damaged_is_left_alone() -> Result<()> {
    let scratch = Scratch::new()?;
    let mut running = ControlPlane::start(scratch.path(), "").await?;
    let (xds, admin) = (Port::reserve()?, Port::reserve()?);
    let (xds, admin) = (xds.on_loopback(), admin.on_loopback());
    let serve = format!("serve --data-dir {{}} --xds-listen {xds} --admin-listen {admin}");
    let init = format!("{serve} --init");
    let used = scratch.path().join("store");
    let damaged = scratch.path().join("damaged");
    fs::create_dir(&damaged)?;
    fs::write(damaged.join("pointsman.redb"), "no store")?;
    let cases = [
        Case::new("another process has the store", &serve, &[&used], 1)
            .says("is locked by another process: stop that pointsman, or use another --data-dir"),
        Case::new("a store that is none", &serve, &[&damaged], 1)
            .says("is damaged or no store of this program")
            .says("restore a copy of it"),
    ];
    check_all(admin, cases).await?;
    assert_eq!(fs::read(damaged.join("pointsman.redb"))?, b"no store");

    running.stop().await?;
    let exists = Case::new("--init where there is a store", &init, &[&used], 1)
        .says("there is a store at")
        .says("serve without --init to use it");
    check_all(admin, [exists]).await?;
    running.restart().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named_with_its_flag() -> Result<()> {
    let scratch = Scratch::new()?;
    let running = ControlPlane::start(scratch.path(), "").await?;
    let free = Port::reserve()?.on_loopback();
    let (xds, admin) = (running.xds(), running.admin());
    let folder = |name: &str| scratch.path().join(name);
    let serve = |data: &Path, xds: &str, admin: &str| {
        let line =
            format!("serve --init --data-dir {{}} --xds-listen {xds} --admin-listen {admin}");
        Case::new("a port that is taken", &line, &[data], 1)
    };
    let todo = "another process listens there: stop it, or choose another address";
    let cases = [
        serve(&folder("a"), &xds.to_string(), &free.to_string())
            .says(format!(
                "cannot listen for sidecars on {xds} (--xds-listen)"
            ))
            .says(todo),
        serve(&folder("b"), &free.to_string(), &admin.to_string())
            .says(format!(
                "cannot listen for operators on {admin} (--admin-listen)"
            ))
            .says(todo),
        serve(
            &folder("c"),
            "192.0.2.1:18000 --xds-plaintext-anywhere",
            &free.to_string(),
        )
        .says("this machine has no such address"),
        serve(&folder("e"), "192.0.2.1:18000", &free.to_string())
            .says("--xds-listen 192.0.2.1:18000 is not a loopback address")
            .says("--xds-tls-cert"),
        serve(&folder("d"), &free.to_string(), "0.0.0.0:18001")
            .says("--admin-listen 0.0.0.0:18001 is not a loopback address")
            .says("--admin-plaintext-anywhere"),
    ];
    check_all(admin, cases).await?;
    for name in ["a", "b", "c", "d", "e"] {
        assert!(!folder(name).exists(), "a store was left at {name}");
    }
    Ok(())
}
