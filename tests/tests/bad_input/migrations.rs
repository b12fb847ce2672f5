//! Migrations that cannot be, on real servers.

use std::fmt::Write as _;

use anyhow::Result;
use pointsman_tests::lab::{
    control_plane::ControlPlane,
    ports::Port,
    postgres::{PairOptions, PostgresPair, PostgresServer, start_stranger},
    scratch::Scratch,
};

use super::table::{Case, check_all};

/// The text of a declaration of `servers`, of which the first one serves `orders`.
fn declaration(servers: &[&PostgresServer]) -> Result<String> {
    let mut text = String::new();
    for server in servers {
        let (name, at) = (server.name(), server.address());
        let control = format!("host={} port={} user=postgres", at.ip(), at.port());
        writeln!(text, "[servers.{name}]\nendpoint = \"{at}\"")?;
        writeln!(text, "control = \"{control}\"\nfence = \"sql+hba\"")?;
    }
    let (writer, reader) = (Port::reserve()?, Port::reserve()?);
    let (writer, reader) = (writer.number(), reader.number());
    writeln!(text, "[databases.orders]\nwriter = \"blue\"\nreaders = []")?;
    writeln!(text, "listen = {{ writer = {writer}, reader = {reader} }}")?;
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_cannot_be_is_refused_before_anything_is_touched() -> Result<()> {
    let scratch = Scratch::new()?;
    let orders = vec!["orders".to_owned()];
    let pair_options = PairOptions {
        databases: orders.clone(),
        ..PairOptions::default()
    };
    let pair = PostgresPair::start(scratch.path(), &pair_options).await?;
    let stranger = start_stranger("grey", scratch.path(), &orders).await?;
    let control_plane = ControlPlane::start(scratch.path(), "").await?;
    let file = scratch.path().join("databases.toml");
    std::fs::write(
        &file,
        declaration(&[&pair.source, &pair.target, &stranger])?,
    )?;
    control_plane
        .cli_ok(&["database", "apply", &file.to_string_lossy()])
        .await?;
    let create = |name, target| {
        let verb = ["migration", "create", name, "--source", "blue", "--target"];
        verb.into_iter().chain([target]).collect::<Vec<_>>()
    };
    let case = Case::new;

    control_plane.cli_ok(&create("m", "green")).await?;
    let planned = [
        case(
            "a switch before preflight passed",
            "migration switch m",
            &[],
            1,
        )
        .says("migration \"m\" is planned: run `migration preflight` and `migration start`"),
        case(
            "a start before preflight passed",
            "migration start m",
            &[],
            1,
        )
        .says("has not passed its preflight; run `pointsman migration preflight m`"),
        case("a rollback of nothing", "migration rollback m", &[], 1)
            .says("migration \"m\" is planned"),
        case("a completion of nothing", "migration complete m", &[], 1)
            .says("migration \"m\" is planned"),
        case(
            "a decision that nobody asked for",
            "migration resolve m --choice retry",
            &[],
            1,
        )
        .says("migration \"m\" is planned"),
        case(
            "an unknown choice",
            "migration resolve m --choice hope",
            &[],
            1,
        )
        .says("\"hope\" is no choice; allowed: retry, open-source, open-source-target-is-down"),
        case(
            "a second migration of one server",
            "migration create n --source blue --target grey",
            &[],
            1,
        )
        .says("server blue is part of migration \"m\", which is planned")
        .says("complete, roll back or cancel that one first"),
        case(
            "a name that is taken",
            "migration create m --source blue --target green",
            &[],
            1,
        )
        .says("there is a migration \"m\" already"),
        case(
            "a server onto itself",
            "migration create n --source blue --target blue",
            &[],
            1,
        )
        .says("source and target are both blue"),
        case(
            "a server that serves nothing",
            "migration create n --source grey --target grey2",
            &[],
            1,
        )
        .says("there is no server grey2; known: blue, green, grey"),
        case(
            "a fate for a catalogued database",
            "migration create n --source blue --target green --fate orders=moves",
            &[],
            1,
        )
        .says("blue"),
    ];
    check_all(control_plane.admin(), planned).await?;

    control_plane.cli_ok(&["migration", "cancel", "m"]).await?;
    control_plane.cli_ok(&create("n", "grey")).await?;
    let strange = [
        case(
            "a target that is no replica",
            "migration preflight n",
            &[],
            3,
        )
        .says("system identifier")
        .says("grey"),
        case("a start although it blocks", "migration start n", &[], 1)
            .says("has not passed its preflight; run `pointsman migration preflight n`"),
        case(
            "an unknown check",
            "migration preflight n --show C999",
            &[],
            1,
        )
        .says("there is no check C999; checks: "),
    ];
    check_all(control_plane.admin(), strange).await?;
    for server in [&pair.source, &stranger] {
        let session = server.client("orders").await?;
        let made = "SELECT FROM pg_namespace WHERE nspname = 'pointsman'";
        assert!(session.query(made, &[]).await?.is_empty(), "it was touched");
    }
    Ok(())
}
