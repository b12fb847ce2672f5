//! The secrets of a run on servers that a cloud runs, and every place that is written to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::{GateOptions, Lab, LabOptions, postgres::Hosting, postgres::PostgresServer};
use pointsman_tests::demo::NO_AUTOVACUUM;

use super::support::{NAME, TestEnvironment, options};

/// What the servers are told to write down, once the lab's own roles have their passwords.
const LOGGED: [&str; 5] = [
    "ALTER SYSTEM SET log_statement = 'all'",
    "ALTER SYSTEM SET log_min_duration_statement = 0",
    "ALTER SYSTEM SET log_min_error_statement = 'info'",
    "ALTER SYSTEM SET log_error_verbosity = 'verbose'",
    "SELECT pg_reload_conf()",
];

/// How the connection string of the reverse stream comes to the source.
const PUBLISHER: &str = "COPY pg_temp.pointsman_publisher";

/// A place that was searched, and what was found there.
struct Place {
    name: String,
    text: Vec<u8>,
    /// What is known to stand there, if anything is: without it nobody has looked.
    known: &'static str,
}

impl Place {
    fn new(name: impl Into<String>, text: impl Into<Vec<u8>>, known: &'static str) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            known,
        }
    }

    /// No secret stands there, and what is known to stand there does.
    fn is_clean(&self, secrets: &[Secret]) -> Result<()> {
        let name = &self.name;
        let known = self.known;
        ensure!(
            known.is_empty() || contains(&self.text, known),
            "{name} is not searched"
        );
        for secret in secrets {
            let held = contains(&self.text, &secret.text);
            ensure!(!held, "{name} holds {}", secret.name);
        }
        Ok(())
    }
}

struct Secret {
    name: String,
    text: String,
}

/// The passwords, and the private keys, a line of each.
fn secrets(lab: &Lab) -> Result<(Vec<Secret>, Vec<PathBuf>)> {
    let hosting = lab.pair.source.hosting();
    let mut secrets = Vec::new();
    for role in ["master", "app", "repl"] {
        let text = hosting.password(role).context("no password")?;
        let name = format!("the password of {role}");
        secrets.push(Secret { name, text });
    }
    let mut holders = Vec::new();
    for path in files(lab.scratch.path(), &[])? {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let key = text.split("PRIVATE KEY-----\n").nth(1);
        if let Some(line) = key.and_then(|key| key.lines().next()) {
            let (name, text) = (path.display().to_string(), line.to_owned());
            secrets.push(Secret { name, text });
            holders.push(path);
        } else if path.to_string_lossy().ends_with("-password") {
            holders.push(path);
        }
    }
    Ok((secrets, holders))
}

/// Not searched: PostgreSQL itself keeps subscriptions with their passwords there.
fn data_folders(lab: &Lab) -> [PathBuf; 2] {
    let pair = &lab.pair;
    [&pair.source, &pair.target].map(|server| server.data_folder().to_owned())
}

/// The files below `folder`, but for `spared` and what is below them.
fn files(folder: &Path, spared: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if spared.contains(&path) {
            continue;
        }
        if kind.is_dir() {
            found.extend(files(&path, spared)?);
        } else if kind.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// The command lines of all processes of the machine. Those of other runs have other secrets.
fn command_lines() -> Result<Place> {
    let mut lines = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // A process may have ended since.
        lines.extend(fs::read(entry?.path().join("cmdline")).unwrap_or_default());
        lines.push(b'\n');
    }
    Ok(Place::new("/proc/*/cmdline", lines, "managed_pointsman"))
}

/// What `pg_stat_statements` keeps on `server`, of all databases.
async fn statements(server: &PostgresServer, known: &'static str) -> Result<Place> {
    let session = server.client("postgres").await?;
    let kept = "SELECT coalesce(string_agg(query, E';\n'), '') FROM pg_stat_statements";
    let text: String = session.query_one(kept, &[]).await?.get(0);
    let name = format!("pg_stat_statements of {}", server.name());
    Ok(Place::new(name, text, known))
}

/// From now on both servers write down every statement.
async fn write_everything_down(lab: &Lab) -> Result<()> {
    let (source, target) = (&lab.pair.source, &lab.pair.target);
    let session = source.client("postgres").await?;
    session
        .batch_execute("CREATE EXTENSION pg_stat_statements; SELECT pg_stat_statements_reset()")
        .await?;
    for server in [source, target] {
        let session = server.client("postgres").await?;
        for statement in LOGGED {
            session.batch_execute(statement).await?;
        }
    }
    Ok(())
}

fn managed() -> LabOptions {
    LabOptions {
        hosting: Hosting::Managed,
        // The first with a way back for a role without superuser is 16.
        major: Some(17),
        tls: true,
        fence: "sql".to_owned(),
        server_settings: format!(
            "{NO_AUTOVACUUM}shared_preload_libraries = 'pg_stat_statements'\n\
             pg_stat_statements.track = top\n"
        ),
        ..options(GateOptions::default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_log_journal_store_statistic_answer_or_command_line() -> Result<()> {
    let env = TestEnvironment::at_work(managed()).await?;
    write_everything_down(&env.lab).await?;
    env.prepare().await?;
    let (secrets, holders) = secrets(&env.lab)?;
    ensure!(secrets.len() > 3, "no private key was found");
    let mut answers = String::new();
    let status = ["migration", "status", NAME];
    for verb in [
        &["--output", "json", "database", "list"][..],
        &["migration", "switch", NAME, "--dry-run"],
    ] {
        answers += &env.lab.control_plane.cli_ok(verb).await?;
    }
    env.switch().await?;
    env.proven().await?;
    answers += &env.lab.control_plane.cli_json(&status).await?.to_string();
    let pair = &env.lab.pair;
    let mut places = vec![
        command_lines()?,
        // While the subscription is there.
        statements(&pair.source, PUBLISHER).await?,
        statements(&pair.target, "pg_create_logical_replication_slot").await?,
    ];
    env.roll_back().await?;
    answers += &env.lab.control_plane.cli_json(&status).await?.to_string();
    places.push(Place::new("the answers", answers, "blue is closed"));
    places.push(statements(&env.lab.pair.source, "pointsman_rb").await?);

    let (lab, _record) = env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    let spared: Vec<_> = holders.into_iter().chain(data_folders(&lab)).collect();
    for path in files(lab.scratch.path(), &spared)? {
        places.push(Place::new(path.display().to_string(), fs::read(&path)?, ""));
    }
    for (server, known) in [
        (&lab.pair.source, PUBLISHER),
        (&lab.pair.target, "pg_create_logical_replication_slot"),
    ] {
        let name = format!("the log of {}", server.name());
        places.push(Place::new(name, server.log()?, known));
    }
    let store = fs::read(lab.scratch.path().join("store/pointsman.redb"))?;
    places.push(Place::new("the store", store.clone(), "user=master"));
    places.push(Place::new("the journal", store, "await_promotion"));
    let log = fs::read(lab.scratch.path().join("pointsman.log"))?;
    places.push(Place::new(
        "the control plane's log",
        log,
        "await_promotion",
    ));
    for place in &places {
        place.is_clean(&secrets)?;
    }
    // Each is found where it is.
    for mut place in places {
        place.text.extend(secrets[0].text.as_bytes());
        ensure!(
            place.is_clean(&secrets).is_err(),
            "{} is not searched",
            place.name
        );
    }
    Ok(())
}
