use pointsman_proto::v1::MigrationRequest;

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
    let mut printed = 0;
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
        for entry in migration.timeline.iter().skip(printed) {
            output::line(&show::entry(entry))?;
        }
        printed = migration.timeline.len();
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
        if line != last {
            output::line(&line)?;
            last = line;
        }
    }
    Ok(())
}
