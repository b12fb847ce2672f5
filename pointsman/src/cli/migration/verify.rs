//! Whether the machine allows what the journals say.

use std::{fmt::Write as _, process::ExitCode};

use pointsman_cutover::checks::Verdict;
use pointsman_proto::v1::{ListMigrationsRequest, MigrationRequest, Verification};

use crate::cli::{
    client, exit,
    global::Global,
    output::{self, Table},
};

pub(super) async fn run(global: &Global, names: Vec<String>) -> anyhow::Result<ExitCode> {
    let mut admin = client::connect(global).await?;
    let names = if names.is_empty() {
        let listed = admin.list_migrations(ListMigrationsRequest {}).await;
        let listed = listed.map_err(|status| client::refusal(&status))?;
        let migrations = listed.into_inner().migrations.into_iter();
        migrations.map(|migration| migration.name).collect()
    } else {
        names
    };
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let verified = admin.verify_migration(MigrationRequest { name }).await;
        let verified = verified.map_err(|status| client::refusal(&status))?;
        found.push(verified.into_inner());
    }
    output::print(
        global.output,
        &serde_json::json!({ "migrations": found }),
        || text(&found),
    )?;
    Ok(ExitCode::from(code(&found)))
}

fn code(found: &[Verification]) -> u8 {
    let has = |verdict: &str| found.iter().any(|one| one.verdict == verdict);
    if has("fail") {
        exit::FAILED
    } else if has("partial") {
        Verdict::Warnings.exit_code()
    } else {
        0
    }
}

fn text(found: &[Verification]) -> String {
    let mut table = Table::new(["MIGRATION", "VERDICT", "ENTRIES", "EVENTS", "UNVERIFIED"]);
    for one in found {
        table.row([
            one.migration.clone(),
            one.verdict.clone(),
            one.entries.to_string(),
            one.events.to_string(),
            one.unverified.to_string(),
        ]);
    }
    let mut text = table.to_string();
    for one in found {
        for violation in &one.violations {
            // Writing to a String cannot fail.
            write!(text, "\n{}: {violation}", one.migration).ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(verdict: &str, violations: &[&str]) -> Verification {
        Verification {
            migration: "orders".to_owned(),
            verdict: verdict.to_owned(),
            entries: 12,
            events: 7,
            unverified: 0,
            violations: violations.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn each_violation_is_named_and_the_worst_decides() {
        let reason = "entry 9: nobody owed the command promote";
        let found = [
            verified("pass", &[]),
            verified("fail", &[reason]),
            verified("partial", &[]),
        ];
        assert_eq!(code(&found), exit::FAILED);
        assert_eq!(code(&found[2..]), 2);
        assert_eq!(code(&found[..1]), 0);
        assert!(text(&found).ends_with(&format!("orders: {reason}")));
    }
}
