//! A password, and every place that the system writes to.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use pointsman_lab::{GateOptions, postgres::PostgresServer};

use super::support::{NAME, TestEnvironment, options};

const PASSWORD: &str = "correct-horse-of-the-test";
/// What the servers are told to write down.
const LOGGED: [&str; 4] = [
    "ALTER SYSTEM SET log_statement = 'all'",
    "ALTER SYSTEM SET log_min_duration_statement = 0",
    "ALTER SYSTEM SET log_min_error_statement = 'info'",
    "SELECT pg_reload_conf()",
];

impl TestEnvironment {
    /// The control role `pilot` logs in with a password, on both servers.
    async fn with_password(&self) -> Result<PathBuf> {
        let pair = &self.lab.pair;
        let role = format!("CREATE ROLE pilot SUPERUSER LOGIN PASSWORD '{PASSWORD}'");
        pair.source
            .client("postgres")
            .await?
            .batch_execute(&role)
            .await?;
        for server in [&pair.source, &pair.target] {
            let hba = server.data_folder().join("pg_hba.conf");
            let rules = fs::read_to_string(&hba)?;
            fs::write(
                &hba,
                format!("host all pilot 127.0.0.0/8 scram-sha-256\n{rules}"),
            )?;
            let session = server.client("postgres").await?;
            for statement in LOGGED {
                session.batch_execute(statement).await?;
            }
        }
        let folder = self.lab.scratch.path();
        let password = folder.join("password");
        fs::write(&password, PASSWORD)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        let file = folder.join("databases.toml");
        let declared = fs::read_to_string(&file)?.replace(
            "user=postgres\"",
            &format!("user=pilot\"\ncontrol_password = {{ file = {password:?} }}"),
        );
        fs::write(&file, declared)?;
        let apply = ["database", "apply", &file.to_string_lossy()];
        self.cli_ok(&apply).await?;
        Ok(password)
    }
}

/// The files below `folder` that hold the password, but for `spared` and what is below them.
fn holders(folder: &Path, spared: &[&Path], found: &mut Vec<PathBuf>) -> Result<u64> {
    let mut searched = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if spared.contains(&path.as_path()) {
            continue;
        }
        if kind.is_dir() {
            searched += holders(&path, spared, found)?;
        } else if kind.is_file() {
            searched += 1;
            if contains(&fs::read(&path)?, PASSWORD) {
                found.push(path);
            }
        }
    }
    Ok(searched)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// The command lines of all processes of the machine that hold the password.
fn command_lines() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let line = entry?.path().join("cmdline");
        // A process may have ended since.
        if contains(&fs::read(&line).unwrap_or_default(), PASSWORD) {
            found.push(line);
        }
    }
    Ok(found)
}

fn logs_statements(server: &PostgresServer) -> Result<bool> {
    Ok(server.log()?.contains("CREATE SUBSCRIPTION pointsman_rb"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_in_no_log_no_journal_no_store_and_no_answer() -> Result<()> {
    let env = TestEnvironment::at_work(options(GateOptions::default())).await?;
    let password = env.with_password().await?;
    env.prepare().await?;
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
    let lines = command_lines()?;
    ensure!(lines.is_empty(), "command lines hold it: {lines:?}");
    env.roll_back().await?;
    answers += &env.lab.control_plane.cli_json(&status).await?.to_string();
    ensure!(!answers.contains(PASSWORD), "an answer holds it");

    let (lab, _record) = env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    ensure!(
        logs_statements(&lab.pair.source)?,
        "the source logs nothing"
    );
    let folder = lab.scratch.path();
    let store = fs::read(folder.join("store/pointsman.redb"))?;
    ensure!(
        contains(&store, "user=pilot"),
        "the store is read by nobody"
    );
    let (source, target) = (lab.pair.source.data_folder(), lab.pair.target.data_folder());
    let mut found = Vec::new();
    let searched = holders(folder, &[&password, source, target], &mut found)?;
    ensure!(
        found.is_empty() && searched > 5,
        "{searched} files, of which hold it: {found:?}"
    );
    Ok(())
}
