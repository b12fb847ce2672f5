use std::process::ExitCode;

use clap::Args;
use pointsman_catalog::{DatabaseName, ServerName};
use pointsman_proto::v1::{Convergence, FlipRequest, FlipResponse};

use super::{client, exit::FAILED, global::Global, output};

/// Send a database's writers, or its readers, to another server, with a barrier
///
/// --to is for a writer that was moved by other means. It proves that the new server is writable and
/// the old one is not; a migration does the moving itself. --readers is for standbys of the writer:
/// after a migration the readers are with the writer until they are sent elsewhere.
#[derive(Args, Debug)]
pub(super) struct Flip {
    /// The database
    database: DatabaseName,
    /// The server that is its writer now
    #[arg(long, value_name = "SERVER", required_unless_present = "readers")]
    to: Option<ServerName>,
    /// The servers that its readers go to, comma-separated: standbys of its writer, or the writer
    #[arg(
        long,
        value_name = "SERVER",
        value_delimiter = ',',
        conflicts_with = "to"
    )]
    readers: Vec<ServerName>,
    /// Skip the proofs: two servers may then accept writes, or readers see old rows, and nothing
    /// will say so
    #[arg(long)]
    force: bool,
}

impl Flip {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let names = self.readers.iter().map(ToString::to_string);
        let readers: Vec<_> = names.collect();
        let to = self
            .to
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        let subject = match &self.to {
            Some(to) => format!("{} is served by {to}", self.database),
            None => format!("readers of {} go to {}", self.database, readers.join(", ")),
        };
        let flipped = client::connect(global)
            .await?
            .flip(FlipRequest {
                database: self.database.to_string(),
                to,
                force: self.force,
                readers,
            })
            .await
            .map_err(|status| client::refusal(&status))?
            .into_inner();
        output::print(global.output, &flipped, || text(&subject, &flipped))?;
        let reached = flipped
            .convergence
            .as_ref()
            .is_some_and(|convergence| convergence.reached);
        Ok(if reached {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILED)
        })
    }
}

fn text(subject: &str, flipped: &FlipResponse) -> String {
    let empty = Convergence::default();
    let convergence = flipped.convergence.as_ref().unwrap_or(&empty);
    let mut lines = vec![format!(
        "{subject} from epoch {} on{}",
        flipped.epoch,
        if convergence.reached {
            ""
        } else {
            "; NOT by every sidecar"
        }
    )];
    for (what, nodes) in [
        ("acknowledged", &convergence.acknowledged),
        ("refused", &convergence.refused),
        ("silent", &convergence.lagging),
        ("absent", &convergence.absent),
        ("unregistered", &convergence.unregistered),
    ] {
        if !nodes.is_empty() {
            lines.push(format!("  {what}: {}", nodes.join(", ")));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flip_names_who_did_not_follow() {
        let flipped = FlipResponse {
            epoch: 4,
            convergence: Some(Convergence {
                reached: false,
                acknowledged: vec!["app-1".to_owned(), "app-2".to_owned()],
                lagging: vec!["app-3".to_owned()],
                ..Convergence::default()
            }),
        };
        assert_eq!(
            text("orders is served by green", &flipped),
            "orders is served by green from epoch 4 on; NOT by every sidecar\n  \
             acknowledged: app-1, app-2\n  silent: app-3"
        );
    }
}
