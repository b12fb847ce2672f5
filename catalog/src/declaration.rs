//! The operator's file of servers and databases.

mod conninfo;
mod password;
mod reader;

use std::fmt;

use crate::{
    Conninfo, Database, DatabaseName, Endpoint, FenceLevel, ListenPorts, PasswordSource, Server,
    ServerName, conninfo::Purpose,
};
use reader::{Field, Fields, Reader, Unique};

/// Servers and databases as declared, checked as a whole.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Declaration {
    pub servers: Vec<Server>,
    pub databases: Vec<Database>,
}

/// Every fault of a file, one a line: `FILE:LINE: FIELD: what was found; allowed: …`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct DeclarationError(Vec<String>);

impl fmt::Display for DeclarationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Declaration {
    /// Parses a TOML text; `origin` is its name in faults.
    ///
    /// # Errors
    /// All faults at once. They contain the keywords of a connection string and none of its values.
    pub fn parse(text: &str, origin: &str) -> Result<Self, DeclarationError> {
        let mut reader = Reader::new(text, origin);
        let declaration = reader.root().map(|root| sound_part(&mut reader, root));
        let faults = reader.into_faults();
        match declaration {
            Some(declaration) if faults.is_empty() => Ok(declaration),
            _ => Err(DeclarationError(faults)),
        }
    }
}

/// The servers and databases without a fault. If the reader has found none, these are all.
fn sound_part<'a>(reader: &mut Reader<'a>, mut root: Fields<'a>) -> Declaration {
    let servers = reader.tables(&mut root, "servers");
    let databases = reader.tables(&mut root, "databases");
    reader.finish(root, &["servers", "databases"]);
    // A server with a fault counts as declared.
    let names: Vec<_> = servers.iter().map(|s| s.key().to_owned()).collect();
    let mut endpoints = Unique::default();
    let mut ports = Unique::default();
    Declaration {
        servers: servers
            .into_iter()
            .filter_map(|fields| server(reader, fields, &mut endpoints))
            .collect(),
        databases: databases
            .into_iter()
            .filter_map(|fields| database(reader, fields, &names, &mut ports))
            .collect(),
    }
}

fn server<'a>(
    reader: &mut Reader<'a>,
    mut fields: Fields<'a>,
    endpoints: &mut Unique<Endpoint>,
) -> Option<Server> {
    let name = reader.name(&fields);
    let endpoint = reader
        .required(&mut fields, "endpoint", "\"HOST:PORT\"")
        .and_then(|text| reader.parsed::<Endpoint>(text));
    if let Some(endpoint) = &endpoint {
        endpoints.claim(reader, endpoint, "each server its own");
    }
    let control = reader.required(&mut fields, "control", Conninfo::FORM);
    let replication = reader.optional(&mut fields, "replication", Conninfo::FORM);
    let probe = reader.optional(&mut fields, "probe", Conninfo::FORM);
    for (text, purpose) in control
        .iter()
        .chain(&probe)
        .map(|text| (text, Purpose::Control))
        .chain(replication.iter().map(|text| (text, Purpose::Replication)))
    {
        for message in conninfo::faults(&text.value, purpose) {
            reader.fault(&text.at, &message);
        }
    }
    if let (Some(control), None) = (&control, &replication) {
        report_local_only(reader, control);
    }
    let control_password = password::source(reader, &mut fields, "control_password");
    let replication_password =
        password_for(reader, &mut fields, "replication", replication.is_some());
    let probe_password = password_for(reader, &mut fields, "probe", probe.is_some());
    let fence = match reader.optional(&mut fields, "fence", "a string") {
        Some(text) => reader.parsed::<FenceLevel>(text).map(|fence| fence.value),
        None => Some(FenceLevel::default()),
    };
    reader.finish(fields, SERVER_FIELDS);
    Some(Server {
        name: name?,
        endpoint: endpoint?.value,
        control: control?.value,
        control_password: control_password.map(|(source, _)| source),
        replication: replication.map(|text| text.value),
        replication_password,
        probe: probe.map(|text| text.value),
        probe_password,
        fence: fence?,
    })
}

/// The password for the string in field `name`, whose default is `control`.
fn password_for<'a>(
    reader: &mut Reader<'a>,
    fields: &mut Fields<'a>,
    name: &str,
    is_there: bool,
) -> Option<PasswordSource> {
    let (source, at) = password::source(reader, fields, &format!("{name}_password"))?;
    if !is_there {
        let message = format!(
            "a password without `{name}`; allowed: with a `{name}` string, since the default is \
             `control` with its password"
        );
        reader.fault(&at, &message);
    }
    Some(source)
}

/// The other server of a migration connects by `control` where there is no `replication`.
fn report_local_only(reader: &mut Reader<'_>, control: &Field<String>) {
    let keywords = conninfo::local_only(&control.value);
    if !keywords.is_empty() {
        let message = format!(
            "{}= in `control` is about files of this machine, and without `replication` the other \
             server of a migration would connect by the same string; allowed: with a `replication` \
             string, whose files are on that server",
            keywords.join("=, ")
        );
        reader.fault(&control.at, &message);
    }
}

fn database<'a>(
    reader: &mut Reader<'a>,
    mut fields: Fields<'a>,
    servers: &[String],
    ports: &mut Unique<u16>,
) -> Option<Database> {
    let name = reader.name::<DatabaseName>(&fields);
    let datname = reader.optional(&mut fields, "datname", "a string");
    if let Some(datname) = &datname
        && !(1..=DATNAME_BYTES).contains(&datname.value.len())
    {
        let message = format!(
            "a name of {} bytes; allowed: 1 to {DATNAME_BYTES}",
            datname.value.len()
        );
        reader.fault(&datname.at, &message);
    }
    let writer = reader
        .required(&mut fields, "writer", "the name of a server")
        .and_then(|text| declared(reader, text, servers));
    let mut once = Unique::default();
    let mut readers = Vec::new();
    for text in reader.list(&mut fields, "readers", "a list of server names") {
        if let Some(server) = declared(reader, text, servers) {
            once.claim(reader, &server, "each server once");
            readers.push(server.value);
        }
    }
    let listen = reader
        .table(&mut fields, "listen", "{ writer = PORT, reader = PORT }")
        .and_then(|listen| listen_ports(reader, listen, ports));
    reader.finish(fields, &["datname", "writer", "readers", "listen"]);
    let name = name?;
    Some(Database {
        datname: datname.map_or_else(|| name.to_string(), |datname| datname.value),
        name,
        writer: writer?.value,
        readers,
        listen: listen?,
    })
}

/// The name of a server that the file declares.
fn declared(
    reader: &mut Reader<'_>,
    text: Field<String>,
    servers: &[String],
) -> Option<Field<ServerName>> {
    if servers.contains(&text.value) {
        // A name that is not allowed is reported where it is declared.
        let value = ServerName::new(text.value).ok()?;
        return Some(Field { value, at: text.at });
    }
    let message = match servers {
        [] => format!("{:?} is not under [servers], nor is any other", text.value),
        names => format!(
            "{:?} is not under [servers]; allowed: {}",
            text.value,
            names.join(", ")
        ),
    };
    reader.fault(&text.at, &message);
    None
}

fn listen_ports<'a>(
    reader: &mut Reader<'a>,
    mut fields: Fields<'a>,
    taken: &mut Unique<u16>,
) -> Option<ListenPorts> {
    let mut port = |name| {
        let port = reader.port(&mut fields, name)?;
        taken.claim(reader, &port, "each listener its own");
        Some(port.value)
    };
    let (writer, of_readers) = (port("writer"), port("reader"));
    reader.finish(fields, &["writer", "reader"]);
    Some(ListenPorts {
        writer: writer?,
        reader: of_readers?,
    })
}

const SERVER_FIELDS: &[&str] = &[
    "endpoint",
    "control",
    "control_password",
    "replication",
    "replication_password",
    "probe",
    "probe_password",
    "fence",
];

/// PostgreSQL cuts longer identifiers (NAMEDATALEN - 1).
const DATNAME_BYTES: usize = 63;

#[cfg(test)]
mod tests;
