//! The command line: one file per verb, tables or JSON, exit codes a script can rely on.

mod certificate;
mod client;
mod database;
mod entitlement;
mod exit;
mod fleet;
mod flip;
mod global;
mod migration;
mod output;
mod recover;
mod serve;
mod sidecar;

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};

use exit::{FAILED, USAGE};
use global::Global;

use crate::parts::Parts;

/// Moves PostgreSQL servers behind Envoy sidecars, and tells the sidecars where to go
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the control plane
    Serve(serve::Serve),
    /// Sidecars' own configuration
    #[command(subcommand)]
    Sidecar(sidecar::Sidecar),
    /// Servers and databases, as declared and as observed
    #[command(subcommand)]
    Database(database::Database),
    /// The registered sidecars
    #[command(subcommand)]
    Fleet(fleet::Fleet),
    /// Send a database's writers, or its readers, to another server, with a barrier
    Flip(flip::Flip),
    /// Move a server with all its databases to another
    #[command(subcommand)]
    Migration(migration::Migration),
    /// Read, and lift, the fence that a switch left in a server, without the store
    Recover(recover::Recover),
}

/// Parses `args`, runs the verb, and says how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_with(args, Parts::default())
}

/// The same for a program that has other parts than this one.
pub fn main_with(args: impl IntoIterator<Item = OsString>, parts: Parts) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to tell when the terminal itself is gone.
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(run(cli, parts));
    // A verb that was aborted may have left blocking work behind; nobody waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run(cli: Cli, parts: Parts) -> anyhow::Result<ExitCode> {
    let Cli { global, verb } = cli;
    match verb {
        Verb::Serve(verb) => verb.run(parts).await,
        Verb::Sidecar(verb) => verb.run(&global).await,
        Verb::Database(verb) => verb.run(&global).await,
        Verb::Fleet(verb) => verb.run(&global).await,
        Verb::Flip(verb) => verb.run(&global).await,
        Verb::Migration(verb) => Box::pin(verb.run(&global)).await,
        Verb::Recover(verb) => Box::pin(verb.run(global.output)).await,
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    writeln!(std::io::stderr(), "error: {error:#}").ok();
    ExitCode::from(FAILED)
}

/// `pointsman … | head` is no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_tree_of_verbs_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_line_of_the_manual_parses() {
        for line in [
            "serve --data-dir d --init --config f --xds-listen 127.0.0.1:1 --admin-listen [::1]:2",
            "serve --data-dir d --xds-plaintext-anywhere --admin-plaintext-anywhere",
            "serve --data-dir d --trust-domain example.org --xds-tls-cert c --xds-tls-key k \
             --xds-tls-client-ca a --admin-tls-cert c --admin-tls-key k --admin-tls-client-ca a",
            "sidecar bootstrap app-1 --listen 127.0.0.11 --xds cp:18000 --envoy-admin 127.0.0.1:9",
            "sidecar bootstrap app-1 --listen 127.0.0.11 --cache unix:/run/app-1.sock",
            "sidecar cache app-1 --xds cp:18000 --file /var/lib/app-1 --socket unix:/run/app-1.sock",
            "sidecar cache app-1 --listen 127.0.0.11 --xds cp:18000 --file f --socket unix:/s \
             --max-age 30m --tls-cert c --tls-key k --tls-ca a --tls-server spiffe://example.org/cp",
            "database apply dal.toml --cut-sessions",
            "database list --output json",
            "database show orders",
            "database grants --postgres 15 --database orders --control-role master",
            "database grants --managed rds",
            "fleet status --watch",
            "fleet show app-1",
            "fleet register app-1 --listen 127.0.0.11 --canary",
            "fleet register app-1 --listen 127.0.0.11 --no-canary",
            "fleet register app-1 --listen 127.0.0.11 --database orders --database billing",
            "fleet register app-1 --listen 127.0.0.11 --all-databases",
            "sidecar bootstrap app-1 --listen 127.0.0.11 --tls-cert c --tls-key k --tls-ca a \
             --tls-sds-dir d --database orders",
            "fleet retire app-1",
            "fleet group add orders --spiffe spiffe://example.org/orders/* --database orders",
            "fleet group add all --spiffe spiffe://example.org/a --all-databases --listen 127.0.0.1",
            "fleet group list",
            "fleet group show orders",
            "fleet group remove orders",
            "sidecar bootstrap --group orders --tls-cert c --tls-key k --tls-ca a",
            "flip orders --to green --force",
            "flip orders --readers green,red",
            "migration create m --source blue --target green --unlisted legacy=moves --unlisted x=stays-closed",
            "migration preflight m --show C56",
            "migration start m",
            "migration status m --watch",
            "migration list",
            "migration switch m --dry-run",
            "migration rollback m --accept-loss",
            "migration complete m",
            "migration cancel m",
            "migration resolve m --choice retry",
            "migration abandon m --leave blue --leave green",
            "--admin http://127.0.0.1:1 migration list",
            "--admin https://cp:1 --admin-cert c --admin-key k --admin-ca a fleet status",
            "recover --control host=127.0.0.1 --un-fence",
        ] {
            let args = std::iter::once("pointsman").chain(line.split_whitespace());
            assert!(Cli::try_parse_from(args).is_ok(), "{line}");
        }
    }

    #[test]
    fn bad_usage_is_named() {
        for (line, named) in [
            ("migration create m --source blue", "--target"),
            (
                "migration create m --source blue --target green --unlisted x=goes",
                "moves or stays-closed",
            ),
            ("sidecar bootstrap a --listen somewhere", "somewhere"),
            ("sidecar bootstrap a", "--listen"),
            ("sidecar bootstrap --listen 127.0.0.1", "NODE"),
            (
                "sidecar bootstrap a --group b --listen 127.0.0.1",
                "--group",
            ),
            ("sidecar bootstrap --group b --database a", "--database"),
            (
                "fleet group add a --spiffe spiffe://example.org/a*b --all-databases",
                "a segment of its path",
            ),
            (
                "sidecar bootstrap a --listen 127.0.0.1 --cache /run/a.sock",
                "unix:",
            ),
            (
                "sidecar bootstrap a --listen 127.0.0.1 --cache unix:/s --state-of-the-world",
                "--state-of-the-world",
            ),
            ("sidecar cache a --file f --socket unix:/s", "--xds"),
            (
                "sidecar cache a --xds cp:1 --file f --socket unix:s",
                "must begin with /",
            ),
            (
                "sidecar cache a --xds cp:1 --file f --socket unix:/s --max-age 1",
                "30m",
            ),
            (
                "sidecar cache a --xds cp:1 --file f --socket unix:/s --tls-cert c --tls-key k --tls-ca a",
                "--tls-server",
            ),
            ("database", "Usage"),
            ("flip orders", "--to"),
            ("flip orders --to a --readers b", "--readers"),
            ("database grants --postgres 13", "14..=18"),
            ("serve --data-dir d --xds-tls-cert c", "--xds-tls-key"),
            ("serve --data-dir d --admin-tls-key k", "--admin-tls-cert"),
            (
                "serve --data-dir d --trust-domain Example.org",
                "trust domain",
            ),
            ("fleet status --admin-cert c", "--admin-key"),
        ] {
            let args = std::iter::once("pointsman").chain(line.split(' '));
            let error = Cli::try_parse_from(args).unwrap_err().to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
