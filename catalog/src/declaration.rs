//! The operator's file of servers and databases.

mod reader;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{Database, DatabaseName, Endpoint, FenceLevel, ListenPorts, Server, ServerName};
use reader::{Fields, Reader};

/// Servers and databases as declared, checked as a whole.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Declaration {
    pub servers: Vec<Server>,
    pub databases: Vec<Database>,
}

/// Every fault of a file, one a line: `FILE:LINE: FIELD: what is wrong; what is allowed`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct DeclarationError(pub(crate) Vec<String>);

impl fmt::Display for DeclarationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Declaration {
    /// Reads `text`; `origin` is its name in faults.
    pub fn parse(text: &str, origin: &str) -> Result<Self, DeclarationError> {
        let mut reader = Reader::new(text, origin);
        let mut declaration = Self::default();
        if let Some(mut root) = reader.root() {
            let servers = reader.tables(&mut root, "servers");
            let databases = reader.tables(&mut root, "databases");
            reader.finish(root, &["servers", "databases"]);
            for fields in servers {
                declaration.servers.extend(server(&mut reader, fields));
            }
            let names: BTreeSet<_> = declaration.servers.iter().map(|s| s.name.clone()).collect();
            for fields in databases {
                let database = database(&mut reader, fields, &names);
                declaration.databases.extend(database);
            }
            unique_endpoints(&mut reader, &declaration.servers);
            unique_ports(&mut reader, &declaration.databases);
        }
        reader.into_result(declaration)
    }
}

fn server<'a>(reader: &mut Reader<'a>, mut fields: Fields<'a>) -> Option<Server> {
    let name = reader.parsed_key::<ServerName>(&fields);
    let endpoint = reader.parsed::<Endpoint>(&mut fields, "endpoint");
    let control = reader.required(&mut fields, "control");
    let replication = reader.optional(&mut fields, "replication");
    let fence = reader.optional(&mut fields, "fence");
    let fence = match fence.as_ref().map(|fence| fence.text.as_str()) {
        None | Some("sql") => Some(FenceLevel::Sql),
        Some("sql+hba") => Some(FenceLevel::SqlHba),
        Some(other) => {
            let found = format!("{other:?} is not known; allowed: \"sql+hba\", \"sql\"");
            reader.fault(&fields, "fence", &found);
            None
        }
    };
    if let Some(control) = &control {
        conninfo(reader, &fields, "control", &control.text, true);
    }
    if let Some(replication) = &replication {
        conninfo(reader, &fields, "replication", &replication.text, false);
    }
    reader.finish(fields, &["endpoint", "control", "replication", "fence"]);
    Some(Server {
        name: name?,
        endpoint: endpoint?,
        control: control?.text,
        replication: replication.map(|replication| replication.text),
        fence: fence?,
    })
}

/// Checks the shape only: what the server makes of it shows when it is reached.
fn conninfo(reader: &mut Reader<'_>, fields: &Fields<'_>, field: &str, text: &str, control: bool) {
    let pairs: BTreeMap<_, _> = text
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .collect();
    for needed in ["host", "user"] {
        if !pairs.contains_key(needed) {
            let words =
                format!("{needed}= is missing; allowed: \"host=HOST port=PORT user=ROLE …\"");
            reader.fault(fields, field, &words);
        }
    }
    match pairs.get("dbname") {
        Some(&dbname) if control && dbname != "postgres" => {
            let words = format!(
                "dbname={dbname} is not allowed: control sessions begin in database postgres"
            );
            reader.fault(fields, field, &words);
        }
        Some(_) if !control => {
            let words = "dbname= is not allowed: each database gets its own subscription";
            reader.fault(fields, field, words);
        }
        _ => {}
    }
}

fn database<'a>(
    reader: &mut Reader<'a>,
    mut fields: Fields<'a>,
    servers: &BTreeSet<ServerName>,
) -> Option<Database> {
    let name = reader.parsed_key::<DatabaseName>(&fields);
    let datname = reader.optional(&mut fields, "datname");
    let writer = reader.parsed::<ServerName>(&mut fields, "writer");
    let readers = reader.list::<ServerName>(&mut fields, "readers");
    let listen = reader.table(&mut fields, "listen").and_then(|mut listen| {
        let writer = reader.port(&mut listen, "writer");
        let reader_port = reader.port(&mut listen, "reader");
        reader.finish(listen, &["writer", "reader"]);
        Some(ListenPorts {
            writer: writer?,
            reader: reader_port?,
        })
    });
    for (field, server) in writer
        .iter()
        .map(|writer| ("writer", writer))
        .chain(readers.iter().map(|reader| ("readers", reader)))
    {
        if !servers.contains(server) {
            let known: Vec<_> = servers.iter().map(ServerName::as_str).collect();
            let words = format!(
                "{:?} is not declared under [servers]; declared: {}",
                server.as_str(),
                known.join(", ")
            );
            reader.fault(&fields, field, &words);
        }
    }
    let distinct: BTreeSet<_> = readers.iter().collect();
    if distinct.len() < readers.len() {
        reader.fault(&fields, "readers", "a server is named twice");
    }
    reader.finish(fields, &["datname", "writer", "readers", "listen"]);
    let name = name?;
    Some(Database {
        datname: datname.map_or_else(|| name.as_str().to_owned(), |datname| datname.text),
        name,
        writer: writer?,
        readers,
        listen: listen?,
    })
}

fn unique_endpoints(reader: &mut Reader<'_>, servers: &[Server]) {
    let mut seen = BTreeMap::new();
    for server in servers {
        if let Some(other) = seen.insert(&server.endpoint, &server.name) {
            reader.global_fault(&format!(
                "servers {other} and {} have one endpoint, {}; a server is one PostgreSQL",
                server.name, server.endpoint
            ));
        }
    }
}

fn unique_ports(reader: &mut Reader<'_>, databases: &[Database]) {
    let mut seen = BTreeMap::new();
    for database in databases {
        for (role, port) in [
            ("writer", database.listen.writer),
            ("reader", database.listen.reader),
        ] {
            let here = format!("databases.{}.listen.{role}", database.name);
            if let Some(other) = seen.insert(port, here.clone()) {
                reader.global_fault(&format!(
                    "{here}: port {port} is taken by {other}; each listener needs its own"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
