use pointsman_catalog::{Changed, Database, Declaration, OpenSessions, Route, Routes, Server};
use pointsman_proto::v1;
use tonic::Status;

use super::{
    context::AdminContext,
    grpc_status::{invalid, refuse},
    usage,
};
use crate::server_status::{self, Closed, ServerStatus};

pub(super) async fn apply(
    admin: &AdminContext,
    request: &v1::ApplyDatabasesRequest,
) -> Result<v1::ApplyDatabasesResponse, Status> {
    let declaration = Declaration::parse(&request.declaration, &request.origin).map_err(invalid)?;
    for server in &declaration.servers {
        let provider = admin.providers.of(server).map_err(invalid)?;
        provider.examine(server).map_err(invalid)?;
    }
    let publishing = &admin.publishing;
    let resolved = publishing.resolver.resolve_declared(&declaration).await;
    resolved.map_err(refuse)?;
    let sessions = match request.cut_sessions {
        true => OpenSessions::Cut,
        false => OpenSessions::Keep,
    };
    let applied = admin.catalog.apply(&declaration, sessions).await;
    let applied = applied.map_err(refuse)?;
    let published = publishing.follower.until_published(applied.revision).await;
    published
        .and_then(|progress| progress.check_all())
        .map_err(refuse)?;
    Ok(v1::ApplyDatabasesResponse {
        added: applied.added,
        changed: applied.changed.into_iter().map(changed).collect(),
        left: applied.left,
    })
}

fn changed(changed: Changed) -> v1::ChangedObject {
    let fields = changed.fields.into_iter().map(|change| {
        let (before, after) = change.values.unzip();
        v1::FieldChange {
            field: change.field.to_owned(),
            before,
            after,
        }
    });
    v1::ChangedObject {
        what: changed.what,
        fields: fields.collect(),
    }
}

/// Lists all databases and servers, or the database `only` with its servers. What each server
/// says of itself now stands beside what is declared.
pub(super) async fn list(
    admin: &AdminContext,
    only: &str,
) -> Result<v1::ListDatabasesResponse, Status> {
    let mut databases = admin.catalog.databases().await.map_err(refuse)?;
    let mut servers = admin.catalog.servers().await.map_err(refuse)?;
    let routes = admin.catalog.routes().await.map_err(refuse)?;
    if !only.is_empty() {
        let name = only.parse().map_err(invalid)?;
        let database = admin.catalog.database(&name).await.map_err(refuse)?;
        let routes = routes.get(&name);
        servers.retain(|server| concerns(server, &database, routes));
        databases = vec![database];
    }
    let observed = server_status::of_all(&admin.providers, &servers).await;
    let closed = server_status::closed(&admin.providers, &servers, &observed).await;
    let states = observed.into_iter().zip(closed);
    Ok(v1::ListDatabasesResponse {
        databases: databases
            .iter()
            .map(|database| v1::Database {
                usage: if only.is_empty() {
                    Vec::new()
                } else {
                    usage::of_database(admin, database)
                },
                ..database_message(database, routes.get(&database.name))
            })
            .collect(),
        servers: servers
            .iter()
            .zip(states)
            .map(|(server, (observed, closed))| server_message(admin, server, observed, closed))
            .collect(),
    })
}

/// Whether `server` serves the database, served it, or is declared to.
fn concerns(server: &Server, database: &Database, routes: Option<&Routes>) -> bool {
    let routed = routes.is_some_and(|routes| {
        let mut named = routes.writer.named().chain(routes.reader.named());
        named.any(|name| *name == server.name)
    });
    routed || database.writer == server.name || database.readers.contains(&server.name)
}

fn database_message(database: &Database, routes: Option<&Routes>) -> v1::Database {
    v1::Database {
        name: database.name.to_string(),
        datname: database.datname.clone(),
        epoch: routes.map_or(0, |routes| routes.epoch.0),
        writer: routes.map(|routes| route_message(&routes.writer)),
        reader: routes.map(|routes| route_message(&routes.reader)),
        writer_port: database.listen.writer.into(),
        reader_port: database.listen.reader.into(),
        usage: Vec::new(),
    }
}

fn route_message(route: &Route) -> v1::Route {
    let names = |servers: &[pointsman_catalog::ServerName]| {
        servers.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    match route {
        Route::Serve { servers, draining } => v1::Route {
            kind: "serve".to_owned(),
            servers: names(servers),
            draining: names(draining),
            until_ms: 0,
        },
        Route::Hold { from, until, .. } => v1::Route {
            kind: "hold".to_owned(),
            servers: names(from),
            draining: Vec::new(),
            until_ms: until.0,
        },
        Route::Refuse => v1::Route {
            kind: "refuse".to_owned(),
            ..v1::Route::default()
        },
    }
}

fn server_message(
    admin: &AdminContext,
    server: &Server,
    observed: ServerStatus,
    closed: Closed,
) -> v1::Server {
    let role = observed.role().to_owned();
    let (closed_by, unknown) = match closed {
        Closed::No => (String::new(), String::new()),
        Closed::By { migration } => (migration, String::new()),
        Closed::Unknown { reason } => {
            let message = format!("whether a migration closed it is not known: {reason}");
            (String::new(), message)
        }
    };
    let (timeline, system_identifier, message) = match observed {
        ServerStatus::Answers {
            timeline,
            system_identifier,
            ..
        } => (timeline, system_identifier, unknown),
        ServerStatus::Unreachable { reason } => (0, String::new(), reason),
    };
    v1::Server {
        name: server.name.to_string(),
        endpoint: server.endpoint.to_string(),
        fence: server.fence.to_string(),
        role,
        closed_by,
        message,
        timeline,
        system_identifier,
        addresses: admin
            .publishing
            .addresses
            .addresses(&server.name)
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}
