//! Migrations that cannot be, on real servers.

use std::{fmt::Write as _, fs};

use anyhow::{Result, ensure};
use pointsman_lab::{
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

/// Servers `blue` and `green`, a pair, and `grey`, which has nothing to do with them, with a
/// control plane that knows all three.
struct Servers {
    control_plane: ControlPlane,
    pair: PostgresPair,
    stranger: PostgresServer,
    // Removed last.
    _scratch: Scratch,
}

impl Servers {
    async fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let orders = vec!["orders".to_owned()];
        let options = PairOptions {
            databases: orders.clone(),
            ..PairOptions::default()
        };
        let pair = PostgresPair::start(scratch.path(), &options).await?;
        let stranger = start_stranger("grey", scratch.path(), &orders).await?;
        let control_plane = ControlPlane::start(scratch.path(), "").await?;
        let file = scratch.path().join("databases.toml");
        let text = declaration(&[&pair.source, &pair.target, &stranger])?;
        fs::write(&file, text)?;
        let apply = ["database", "apply", &file.to_string_lossy()];
        control_plane.cli_ok(&apply).await?;
        Ok(Self {
            control_plane,
            pair,
            stranger,
            _scratch: scratch,
        })
    }

    async fn create(&self, name: &str, target: &str) -> Result<()> {
        let verb = ["migration", "create", name, "--source", "blue"];
        let verb: Vec<_> = verb.into_iter().chain(["--target", target]).collect();
        self.control_plane.cli_ok(&verb).await?;
        Ok(())
    }

    async fn check_all(&self, cases: impl IntoIterator<Item = Case<'_>>) -> Result<()> {
        check_all(self.control_plane.admin(), cases).await
    }

    /// What `migration start` makes is on neither server.
    async fn nothing_was_touched(&self) -> Result<()> {
        for server in [&self.pair.source, &self.stranger] {
            let session = server.client("orders").await?;
            let made = "SELECT FROM pg_namespace WHERE nspname = 'pointsman'";
            let name = server.name();
            ensure!(
                session.query(made, &[]).await?.is_empty(),
                "{name} was touched"
            );
        }
        Ok(())
    }
}

/// Verbs that a planned migration does not take.
fn too_early<'a>() -> Vec<Case<'a>> {
    let planned = |what, line| {
        Case::new(what, line, &[], 1).says("migration \"m\" is planned: run `migration preflight`")
    };
    vec![
        planned("a switch before preflight passed", "migration switch m"),
        planned(
            "a rehearsal before the start",
            "migration switch m --dry-run",
        ),
        planned("a rollback of nothing", "migration rollback m"),
        planned("a completion of nothing", "migration complete m"),
        planned(
            "an end by a word that nothing calls for",
            "migration abandon m --leave blue --leave green",
        ),
        planned(
            "a decision that nobody asked for",
            "migration resolve m --choice retry",
        ),
        Case::new(
            "a start before preflight passed",
            "migration start m",
            &[],
            1,
        )
        .says("has not passed its preflight; run `pointsman migration preflight m`"),
        Case::new(
            "an unknown choice",
            "migration resolve m --choice hope",
            &[],
            1,
        )
        .says("\"hope\" is no choice; allowed: retry, "),
    ]
}

/// Migrations that cannot be created beside `m`.
fn clashing<'a>() -> Vec<Case<'a>> {
    let create = |what, line: &str| Case::new(what, &format!("migration create {line}"), &[], 1);
    vec![
        create(
            "a second migration of one server",
            "n --source blue --target grey",
        )
        .says("server blue is part of migration \"m\", which is planned")
        .says("cancel it first (`migration cancel`)"),
        create("a name that is taken", "m --source blue --target green")
            .says("there is a migration \"m\" already"),
        create("a server onto itself", "n --source blue --target blue")
            .says("source and target are both blue"),
        create("an unknown target", "n --source blue --target red")
            .says("there is no server red; known: blue, green, grey"),
        create(
            "a name that is not allowed",
            "N_1 --source blue --target green",
        )
        .says("migration name \"N_1\" is not allowed: 1 to 40 lower-case letters"),
    ]
}

/// Creations that are wrong in themselves, when no server is taken.
fn senseless<'a>() -> Vec<Case<'a>> {
    let create = |what, line: &str| Case::new(what, &format!("migration create {line}"), &[], 1);
    vec![
        create(
            "a server that serves nothing",
            "n --source grey --target green",
        )
        .says("no database's writer is on grey, so there is nothing to move"),
        create(
            "a policy for a database of the catalogue",
            "n --source blue --target green --unlisted orders=moves",
        )
        .says("orders is in the catalogue and moves with its server"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_cannot_be_is_refused_before_anything_is_touched() -> Result<()> {
    let servers = Servers::start().await?;
    servers.create("m", "green").await?;
    servers
        .check_all(too_early().into_iter().chain(clashing()))
        .await?;
    servers
        .control_plane
        .cli_ok(&["migration", "cancel", "m"])
        .await?;
    servers.check_all(senseless()).await?;
    servers.nothing_was_touched().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_no_replica_of_the_source_blocks() -> Result<()> {
    let servers = Servers::start().await?;
    servers.create("n", "grey").await?;
    let case = Case::new;
    let cases = [
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
    servers.check_all(cases).await?;
    servers.nothing_was_touched().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_named() -> Result<()> {
    let servers = Servers::start().await?;
    servers.create("m", "green").await?;
    let verdict = servers
        .control_plane
        .cli(&["migration", "preflight", "m"])
        .await?;
    ensure!(matches!(verdict.code, Some(0 | 2)), "{verdict:?}");
    servers.pair.target.stop().await?;
    let case = Case::new;
    let cases = [
        case("a start without the target", "migration start m", &[], 1)
            .says("server green cannot be reached")
            .says("it is planned and can be asked again"),
        case(
            "a preflight without the target",
            "migration preflight m",
            &[],
            1,
        )
        .says("server green cannot be reached"),
    ];
    servers.check_all(cases).await?;
    servers.nothing_was_touched().await
}
