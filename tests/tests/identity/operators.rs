//! Who reads and who commands.

use std::time::Duration;

use anyhow::Result;
use pointsman_lab::authority::{Authority, Claims, Issued};
use tokio::time::timeout;

use super::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_reads_and_cannot_flip() -> Result<()> {
    let house = House::open().await?;
    let claims = Claims::of("/pointsman/viewer/bob");
    let bob = house.operators.issue(house.folder(), "bob", claims)?;
    let status = house.verb_as(&bob, &["fleet", "status"]).await?;
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
        let refused = house.verb_as(&bob, args).await?;
        assert_eq!(refused.code, Some(1), "{args:?}: {refused:?}");
        for words in [
            "/pointsman/viewer/bob (viewer)",
            method,
            "the role operator",
        ] {
            assert!(refused.stderr.contains(words), "{args:?}: {refused:?}");
        }
        let log = house.log()?;
        let line = log.lines().find(|line| {
            line.contains("refused") && line.contains("viewer/bob") && line.contains(method)
        });
        assert!(line.is_some(), "{method} is not on the record\n{log}");
    }
    let shown = house.ok(&["fleet", "show", "app-1"]).await?;
    assert!(shown.contains("orders"), "{shown}");
    assert!(!shown.contains("databases  all"), "{shown}");
    let log = house.log()?;
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
    // A house for each: of many refusals the log names some.
    let house = House::open().await?;
    let whom = house.sidecars.issue(house.folder(), "x", ann)?;
    is_refused(&house, &whom, "nobody that this server trusts").await?;
    let house = House::open().await?;
    let whom = stranger.issue(house.folder(), "x", ann)?;
    is_refused(&house, &whom, "nobody that this server trusts").await?;
    for (claims, why) in [
        (expired, "has expired"),
        (foreign, "of another trust domain"),
    ] {
        let house = House::open().await?;
        let whom = house.operators.issue(house.folder(), "x", claims)?;
        is_refused(&house, &whom, why).await?;
    }
    let plain = house.control_plane.plain_cli(&["fleet", "status"]).await?;
    assert_eq!(plain.code, Some(1), "{plain:?}");
    assert!(plain.stderr.contains("--admin-cert"), "{plain:?}");
    Ok(())
}

async fn is_refused(house: &House, whom: &Issued, why: &str) -> Result<()> {
    let refused = house.verb_as(whom, &["fleet", "status"]).await?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(!refused.stdout.contains("app-1"), "{refused:?}");
    house.refusal(why).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_trusted_changes_with_the_files() -> Result<()> {
    let house = House::open().await?;
    let ann = Claims::of("/pointsman/operator/ann");
    let former = house.operators.issue(house.folder(), "former", ann)?;
    let status = ["fleet", "status"];
    let served = house.verb_as(&former, &status).await?;
    assert_eq!(served.code, Some(0), "{served:?}");
    let next = Authority::new("operators")?;
    next.write(house.folder().join("operators.pem"))?;
    let followed = async {
        while house.verb_as(&former, &status).await?.code == Some(0) {}
        anyhow::Ok(())
    };
    timeout(PATIENCE, followed).await??;
    let ann = next.issue(house.folder(), "next", ann)?;
    let served = house.verb_as(&ann, &status).await?;
    assert_eq!(served.code, Some(0), "{served:?}");
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(20);
