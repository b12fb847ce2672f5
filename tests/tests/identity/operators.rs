//! Who reads and who commands.

use std::time::Duration;

use anyhow::Result;
use pointsman_lab::authority::{Authority, Claims, Issued};
use tokio::time::timeout;

use super::control_plane::SecureControlPlane;

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_reads_and_cannot_flip() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let claims = Claims::of("/pointsman/viewer/bob");
    let bob = server.operators.issue(server.folder(), "bob", claims)?;
    let status = server.verb_as(&bob, &["fleet", "status"]).await?;
    assert_eq!(status.code, Some(0), "{status:?}");
    for (args, method) in [
        (&["flip", "orders", "--to", "blue", "--force"][..], "Flip"),
        (&["fleet", "retire", "app-2"], "RetireNode"),
        (
            &[
                "fleet",
                "register",
                "app-1",
                "--listen",
                "127.0.0.1",
                "--all-databases",
            ],
            "RegisterNode",
        ),
        (&["migration", "switch", "m"], "SwitchMigration"),
        (&["migration", "rollback", "m"], "RollbackMigration"),
    ] {
        let refused = server.verb_as(&bob, args).await?;
        assert_eq!(refused.code, Some(1), "{args:?}: {refused:?}");
        for message in [
            "/pointsman/viewer/bob (viewer)",
            method,
            "the role operator",
        ] {
            assert!(refused.stderr.contains(message), "{args:?}: {refused:?}");
        }
        let log = server.log()?;
        let line = log.lines().find(|line| {
            line.contains("refused") && line.contains("viewer/bob") && line.contains(method)
        });
        assert!(line.is_some(), "{method} is not on the record\n{log}");
    }
    let shown = server.ok(&["fleet", "show", "app-1"]).await?;
    assert!(shown.contains("orders"), "{shown}");
    assert!(!shown.contains("databases  all"), "{shown}");
    let log = server.log()?;
    let commanded = log
        .lines()
        .any(|line| line.contains("/pointsman/operator/ann") && line.contains("RegisterNode"));
    assert!(
        commanded,
        "the operator's commands are not on the record\n{log}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_for_sidecars_makes_no_operator() -> Result<()> {
    let ann = Claims::of("/pointsman/operator/ann");
    let expired = Claims {
        expired: true,
        ..ann
    };
    let foreign = Claims {
        trust_domain: "elsewhere.example",
        ..ann
    };
    let stranger = Authority::new("operators")?;
    // A server for each: of many refusals the log names some.
    let server = SecureControlPlane::open().await?;
    let holder = server.sidecars.issue(server.folder(), "x", ann)?;
    is_refused(&server, &holder, "nobody that this server trusts").await?;
    let server = SecureControlPlane::open().await?;
    let holder = stranger.issue(server.folder(), "x", ann)?;
    is_refused(&server, &holder, "nobody that this server trusts").await?;
    for (claims, why) in [
        (expired, "has expired"),
        (foreign, "of another trust domain"),
    ] {
        let server = SecureControlPlane::open().await?;
        let holder = server.operators.issue(server.folder(), "x", claims)?;
        is_refused(&server, &holder, why).await?;
    }
    let plain = server.control_plane.plain_cli(&["fleet", "status"]).await?;
    assert_eq!(plain.code, Some(1), "{plain:?}");
    assert!(plain.stderr.contains("--admin-cert"), "{plain:?}");
    Ok(())
}

async fn is_refused(server: &SecureControlPlane, holder: &Issued, why: &str) -> Result<()> {
    let refused = server.verb_as(holder, &["fleet", "status"]).await?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(!refused.stdout.contains("app-1"), "{refused:?}");
    server.refusal(why).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_trusted_changes_with_the_files() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let ann = Claims::of("/pointsman/operator/ann");
    let former = server.operators.issue(server.folder(), "former", ann)?;
    let status = ["fleet", "status"];
    let served = server.verb_as(&former, &status).await?;
    assert_eq!(served.code, Some(0), "{served:?}");
    let next = Authority::new("operators")?;
    next.write(server.folder().join("operators.pem"))?;
    let followed = async {
        while server.verb_as(&former, &status).await?.code == Some(0) {}
        anyhow::Ok(())
    };
    timeout(PATIENCE, followed).await??;
    let ann = next.issue(server.folder(), "next", ann)?;
    let served = server.verb_as(&ann, &status).await?;
    assert_eq!(served.code, Some(0), "{served:?}");
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(20);
