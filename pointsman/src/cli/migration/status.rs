use pointsman_proto::v1::{Migration, MigrationRequest};

use super::show;
use crate::cli::{
    client,
    global::{Format, Global},
    output,
};

/// Prints where the migration `name` stands.
pub(super) async fn once(global: &Global, name: String) -> anyhow::Result<()> {
    let migration = client::connect(global)
        .await?
        .get_migration(MigrationRequest { name })
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &show::json(&migration)?, || {
        let timeline = show::last_switch(&migration);
        if timeline.is_empty() {
            show::summary(&migration)
        } else {
            format!("{}\n\n{timeline}", show::summary(&migration))
        }
    })
}

/// Follows it: each new entry of its record, and its state whenever that changes. Ends when
/// the control plane does.
pub(super) async fn watch(global: &Global, name: String) -> anyhow::Result<()> {
    let mut stream = client::connect(global)
        .await?
        .watch_migration(MigrationRequest { name })
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    let mut newest = String::new();
    let mut last = String::new();
    while let Some(migration) = stream
        .message()
        .await
        .map_err(|status| client::refusal(&status))?
    {
        if global.output == Format::Json {
            output::line(&serde_json::to_string(&show::json(&migration)?)?)?;
            continue;
        }
        for entry in &migration.timeline {
            output::line(&show::entry(entry))?;
            newest.clone_from(&entry.step);
        }
        let line = format!(
            "== {}: {}{}",
            migration.name,
            migration.headline,
            migration
                .way_back
                .as_ref()
                .map_or_else(String::new, |way_back| format!(
                    "; way back: {}",
                    way_back.message
                ))
        );
        if line != last && told(&migration, &newest) {
            output::line(&line)?;
            last = line;
        }
    }
    Ok(())
}

/// Whether the entries are as new as the state: those of some steps are written with the next ones, and what
/// comes first is to be printed first.
fn told(migration: &Migration, newest: &str) -> bool {
    migration.state != "switching" || !migration.not_driven.is_empty() || newest == migration.step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_once_its_intent_is_on_record() {
        let migration = Migration {
            state: "switching".to_owned(),
            step: "prove".to_owned(),
            ..Migration::default()
        };
        assert!(!told(&migration, "fence"));
        assert!(told(&migration, "prove"));
    }
}
