use std::process::ExitCode;

use anyhow::anyhow;
use pointsman_proto::v1::{DryRunRequest, Migration, SwitchRequest};

use super::show;
use crate::cli::{client, global::Global, output};

/// A switch, in either direction.
pub(super) struct Asked {
    name: String,
    direction: &'static str,
    accept_loss: bool,
    /// The states in which it has succeeded.
    success: &'static [&'static str],
}

impl Asked {
    pub(super) fn switch(name: String) -> Self {
        Self {
            name,
            direction: "forward",
            accept_loss: false,
            success: &["baking"],
        }
    }

    pub(super) fn rollback(name: String, accept_loss: bool) -> Self {
        Self {
            name,
            direction: "reverse",
            accept_loss,
            // Before promotion going back is an abort, and the source serves as before.
            success: &["rolled_back", "undone"],
        }
    }
}

pub(super) async fn run(global: &Global, asked: Asked, dry_run: bool) -> anyhow::Result<ExitCode> {
    if dry_run {
        self::dry_run(global, asked).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut admin = client::connect(global).await?;
    let request = SwitchRequest {
        name: asked.name,
        accept_loss: asked.accept_loss,
    };
    let answer = if asked.direction == "forward" {
        admin.switch_migration(request).await
    } else {
        admin.rollback_migration(request).await
    };
    let migration = answer
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    let succeeded = asked.success.contains(&migration.state.as_str());
    output::print(global.output, &show::json(&migration)?, || {
        let timeline = show::last_switch(&migration);
        let summary = match succeeded {
            true => show::summary(&migration),
            // The error says why.
            false => show::summary_without_cause(&migration),
        };
        format!("{timeline}\n\n{summary}")
    })?;
    if succeeded {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(failure(&migration))
    }
}

/// What happened, to what, why, and what to do.
pub(super) fn failure(migration: &Migration) -> anyhow::Error {
    let todo = match migration.state.as_str() {
        "planned" | "prepared" | "undone" | "baking" => format!(
            "nothing was lost; remove the cause and try again (`migration status {}` has the record)",
            migration.name
        ),
        "needs_operator" | "promotion_stalled" => format!(
            "decide with `migration resolve {} --choice …` ({})",
            migration.name,
            migration
                .choices
                .iter()
                .map(|choice| choice.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
        _ => format!("look at `migration status {}`", migration.name),
    };
    let cause = if migration.cause.is_empty() {
        &migration.headline
    } else {
        &migration.cause
    };
    anyhow!(
        "migration {} is now {}: {cause}; {todo}",
        migration.name,
        migration.state
    )
}

async fn dry_run(global: &Global, asked: Asked) -> anyhow::Result<()> {
    let dry_run = client::connect(global)
        .await?
        .dry_run(DryRunRequest {
            name: asked.name,
            direction: asked.direction.to_owned(),
        })
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &dry_run, || dry_run.steps.join("\n"))
}

#[cfg(test)]
mod tests {
    use pointsman_proto::v1::Choice;

    use super::*;

    #[test]
    fn a_failed_switch_says_what_to_do() {
        let undone = Migration {
            name: "m".to_owned(),
            state: "undone".to_owned(),
            cause: "sidecar app-3 is registered and not connected".to_owned(),
            ..Migration::default()
        };
        assert_eq!(
            failure(&undone).to_string(),
            "migration m is now undone: sidecar app-3 is registered and not connected; nothing \
             was lost; remove the cause and try again (`migration status m` has the record)"
        );
        let waiting = Migration {
            name: "m".to_owned(),
            state: "needs_operator".to_owned(),
            cause: "green does not answer".to_owned(),
            choices: ["retry", "open-source"]
                .map(|name| Choice {
                    name: name.to_owned(),
                    message: String::new(),
                })
                .to_vec(),
            ..Migration::default()
        };
        assert_eq!(
            failure(&waiting).to_string(),
            "migration m is now needs_operator: green does not answer; decide with `migration \
             resolve m --choice …` (retry, open-source)"
        );
    }
}
