mod grants;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Subcommand;
use pointsman_proto::v1::{self, ApplyDatabasesRequest};

use super::{
    client,
    global::Global,
    output::{self, Table},
};

/// Servers and databases, as declared and as observed
#[derive(Debug, Subcommand)]
pub(super) enum Database {
    /// Declare servers and databases; never changes where a database is served now
    Apply {
        /// The declaration (TOML)
        file: PathBuf,
        /// Let ports of databases change: sidecars then close the former ports, with every session
        #[arg(long)]
        cut_sessions: bool,
    },
    /// Every database and server, with role, timeline and system identifier as observed now
    List,
    /// One database and its servers
    Show {
        /// The database's name
        name: String,
    },
    /// Print the SQL that gives a server's roles what migrations need, for psql
    Grants(grants::PrintGrants),
}

impl Database {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self {
            Self::Apply { file, cut_sessions } => apply(global, &file, cut_sessions).await,
            Self::List => list(global, String::new()).await,
            Self::Show { name } => list(global, name).await,
            Self::Grants(verb) => verb.run(global).await,
        }
    }
}

async fn apply(global: &Global, file: &PathBuf, cut_sessions: bool) -> anyhow::Result<ExitCode> {
    let origin = file.display().to_string();
    let declaration =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {origin}"))?;
    let applied = client::connect(global)
        .await?
        .apply_databases(ApplyDatabasesRequest {
            declaration,
            origin,
            cut_sessions,
        })
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &applied, || applied_text(&applied))?;
    Ok(ExitCode::SUCCESS)
}

fn applied_text(applied: &v1::ApplyDatabasesResponse) -> String {
    let mut lines = Vec::new();
    lines.extend(applied.added.iter().map(|name| format!("added {name}")));
    lines.extend(applied.changed.iter().map(|changed| {
        let fields: Vec<_> = changed.fields.iter().map(field_text).collect();
        format!("changed {}: {}", changed.what, fields.join(", "))
    }));
    lines.extend(
        applied
            .left
            .iter()
            .map(|what| format!("left as it is: {what}")),
    );
    if lines.is_empty() {
        lines.push("unchanged".to_owned());
    }
    lines.join("\n")
}

fn field_text(change: &v1::FieldChange) -> String {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("{} {before} → {after}", change.field),
        _ => format!("{} (not shown)", change.field),
    }
}

async fn list(global: &Global, name: String) -> anyhow::Result<ExitCode> {
    let found = client::databases(global, name).await?;
    output::print(global.output, &found, || tables(&found))?;
    Ok(ExitCode::SUCCESS)
}

fn tables(found: &v1::ListDatabasesResponse) -> String {
    let mut databases = Table::new([
        "DATABASE", "DATNAME", "EPOCH", "WRITER", "PORT", "READER", "PORT",
    ]);
    for database in &found.databases {
        databases.row([
            database.name.clone(),
            database.datname.clone(),
            database.epoch.to_string(),
            route(database.writer.as_ref()),
            database.writer_port.to_string(),
            route(database.reader.as_ref()),
            database.reader_port.to_string(),
        ]);
    }
    let mut servers = Table::new([
        "SERVER",
        "ENDPOINT",
        "ADDRESSES",
        "FENCE",
        "ROLE",
        "TIMELINE",
        "SYSTEM IDENTIFIER",
        "MESSAGE",
    ]);
    for server in &found.servers {
        servers.row([
            server.name.clone(),
            server.endpoint.clone(),
            server.addresses.join(" "),
            server.fence.clone(),
            role(server),
            known(server.timeline != 0, server.timeline.to_string()),
            known(
                !server.system_identifier.is_empty(),
                server.system_identifier.clone(),
            ),
            server.message.clone(),
        ]);
    }
    let usage = found.databases.iter().flat_map(|found| &found.usage);
    match usage_table(usage) {
        Some(usage) => format!("{databases}\n\n{servers}\n\n{usage}"),
        None => format!("{databases}\n\n{servers}"),
    }
}

/// A row per sidecar and route; `None` when nothing was asked for.
fn usage_table<'a>(usage: impl Iterator<Item = &'a v1::RouteUsage>) -> Option<String> {
    let mut usage = usage.peekable();
    usage.peek()?;
    let mut table = Table::new([
        "SIDECAR",
        "ROLE",
        "SESSIONS",
        "PARKED",
        "FAILURES",
        "CONNECT",
        "ENDPOINTS",
        "MESSAGE",
    ]);
    for route in usage {
        let parts = [route.unknown.as_str(), route.last_failure.as_str()];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        table.row([
            route.node.clone(),
            route.role.clone(),
            output::number(route.sessions),
            output::number(route.parked),
            output::number(route.connect_failures),
            route
                .connect_us
                .map_or_else(|| "-".to_owned(), |us| format!("{} ms", output::ms(us))),
            endpoints(route),
            parts.join("; "),
        ]);
    }
    Some(table.to_string())
}

fn endpoints(route: &v1::RouteUsage) -> String {
    let used = route.endpoints.iter().filter(|used| used.sessions > 0);
    let mut text: Vec<_> = used
        .map(|used| {
            let name = if used.server.is_empty() {
                &used.address
            } else {
                &used.server
            };
            format!("{} {name}", used.sessions)
        })
        .collect();
    let unplaced = route.unplaced.filter(|&count| count > 0);
    text.extend(unplaced.map(|count| format!("{count} not told yet")));
    text.join(", ")
}

fn role(server: &v1::Server) -> String {
    match server.closed_by.as_str() {
        "" => server.role.clone(),
        migration => format!("{}, closed by {migration}", server.role),
    }
}

fn known(known: bool, text: String) -> String {
    if known { text } else { "-".to_owned() }
}

fn route(route: Option<&v1::Route>) -> String {
    let Some(route) = route else {
        return "-".to_owned();
    };
    let mut text = match route.kind.as_str() {
        "serve" if route.servers.is_empty() => "(none)".to_owned(),
        "serve" => route.servers.join(" "),
        "hold" => format!(
            "HOLD from {} until {}",
            route.servers.join(" "),
            output::clock(route.until_ms)
        ),
        _ => "REFUSE".to_owned(),
    };
    if !route.draining.is_empty() {
        text.push_str(&format!(" (draining {})", route.draining.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Vec<v1::RouteUsage> {
        vec![
            v1::RouteUsage {
                node: "app-1".to_owned(),
                role: "writer".to_owned(),
                sessions: Some(7),
                parked: Some(3),
                connect_failures: Some(12),
                last_failure: "10.0.0.2:5432: Connection refused".to_owned(),
                connect_us: Some(1_250),
                endpoints: vec![v1::EndpointUsage {
                    address: "10.0.0.1:5432".to_owned(),
                    server: "blue".to_owned(),
                    sessions: 5,
                    ..v1::EndpointUsage::default()
                }],
                unplaced: Some(2),
                ..v1::RouteUsage::default()
            },
            v1::RouteUsage {
                node: "app-2".to_owned(),
                role: "writer".to_owned(),
                unknown: "it has not reported for 12 s".to_owned(),
                ..v1::RouteUsage::default()
            },
        ]
    }

    #[test]
    fn a_list_shows_routes_and_what_was_observed() {
        let serve = |server: &str, draining: &[&str]| {
            Some(v1::Route {
                kind: "serve".to_owned(),
                servers: vec![server.to_owned()],
                draining: draining.iter().map(|&name| name.to_owned()).collect(),
                until_ms: 0,
            })
        };
        let found = v1::ListDatabasesResponse {
            databases: vec![v1::Database {
                name: "orders".to_owned(),
                datname: "orders_prod".to_owned(),
                epoch: 7,
                writer: serve("green", &["blue"]),
                reader: Some(v1::Route {
                    kind: "hold".to_owned(),
                    servers: vec!["green".to_owned()],
                    draining: Vec::new(),
                    until_ms: 1_700_000_000_123,
                }),
                writer_port: 6432,
                reader_port: 6433,
                usage: usage(),
            }],
            servers: vec![
                v1::Server {
                    name: "blue".to_owned(),
                    endpoint: "blue.example:5432".to_owned(),
                    fence: "sql+hba".to_owned(),
                    role: "primary".to_owned(),
                    timeline: 2,
                    system_identifier: "7300000000000000001".to_owned(),
                    addresses: vec!["10.0.0.1:5432".to_owned()],
                    closed_by: "m".to_owned(),
                    message: String::new(),
                },
                v1::Server {
                    name: "green".to_owned(),
                    endpoint: "green.example:5432".to_owned(),
                    fence: "sql".to_owned(),
                    role: "unreachable".to_owned(),
                    message: "connection refused".to_owned(),
                    ..v1::Server::default()
                },
            ],
        };
        insta::assert_snapshot!(tables(&found));
    }
}
