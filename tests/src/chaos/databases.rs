//! The application databases, and where sidecars offer them.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use anyhow::Result;
use pointsman_lab::{
    ports::Port,
    workload::{Access, Route},
};

/// All on one server.
#[derive(Debug)]
pub(super) struct Databases(Vec<Database>);

/// One, and the ports at which each sidecar offers it.
#[derive(Debug)]
struct Database {
    name: String,
    writer: Port,
    reader: Port,
}

impl Databases {
    pub(super) fn reserve(names: Vec<String>) -> Result<Self> {
        let databases = names.into_iter().map(|name| {
            anyhow::Ok(Database {
                name,
                writer: Port::reserve()?,
                reader: Port::reserve()?,
            })
        });
        Ok(Self(databases.collect::<Result<_>>()?))
    }

    /// Their part of the file that `database apply` takes.
    pub(super) fn declaration(&self, writer: &str, reader: &str) -> Result<String> {
        let mut text = String::new();
        for database in &self.0 {
            let name = &database.name;
            let (to_writer, to_reader) = (database.writer.number(), database.reader.number());
            writeln!(text, "[databases.{name}]\ndatname = \"{name}\"")?;
            writeln!(text, "writer = \"{writer}\"\nreaders = [\"{reader}\"]")?;
            writeln!(
                text,
                "listen = {{ writer = {to_writer}, reader = {to_reader} }}"
            )?;
        }
        Ok(text)
    }

    /// The ways through so many sidecars.
    pub(super) fn accesses(&self, sidecars: usize) -> Vec<Access> {
        let through = |port: &Port| (0..sidecars).map(|it| Route::Fixed(at(it, port))).collect();
        let accesses = self.0.iter().map(|database| Access {
            datname: database.name.clone(),
            writer: through(&database.writer),
            reader: through(&database.reader),
        });
        accesses.collect()
    }

    /// The addresses of all of them, with the database that is served there.
    pub(super) fn ways(&self, sidecars: usize) -> Vec<(SocketAddr, &str)> {
        let of_sidecar = |number| {
            self.0.iter().flat_map(move |database| {
                [&database.writer, &database.reader]
                    .map(|port| (at(number, port), database.name.as_str()))
            })
        };
        (0..sidecars).flat_map(of_sidecar).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|it| it.name.clone()).collect()
    }
}

/// The address of its own that a sidecar has; on Linux each loopback address is there without set-up.
pub(super) fn ip(sidecar: usize) -> IpAddr {
    let last = u8::try_from(sidecar + 1).unwrap_or(u8::MAX);
    IpAddr::V4(Ipv4Addr::new(127, 0, 4, last))
}

fn at(sidecar: usize, port: &Port) -> SocketAddr {
    SocketAddr::new(ip(sidecar), port.number())
}
