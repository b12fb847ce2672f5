//! How a server lets people in: its roles, TLS and `pg_hba.conf`, and the connection strings for them.

use std::{net::SocketAddr, path::Path};

use super::{hosting::Hosting, tls::Tls};

/// How one server lets people in.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(super) hosting: Hosting,
    /// With it, no TCP connection is taken without TLS.
    pub(super) tls: Option<Tls>,
}

impl Access {
    pub(crate) fn new(hosting: Hosting, tls: Option<Tls>) -> Self {
        Self { hosting, tls }
    }

    /// Connection string of `role` for a person or program outside of the lab, who reaches
    /// `server` at `at`.
    pub(super) fn login(&self, server: &str, role: &str, at: SocketAddr) -> String {
        let mut conninfo = self.address(server, role, at);
        if let Some(password) = self.hosting.password(role) {
            conninfo.extend([" password=", &password]);
        }
        conninfo
    }

    /// The same without the password.
    pub(super) fn address(&self, server: &str, role: &str, at: SocketAddr) -> String {
        let (ip, port) = (at.ip(), at.port());
        match &self.tls {
            None => format!("host={ip} port={port} user={role}"),
            Some(tls) => format!(
                "host={} hostaddr={ip} port={port} user={role} sslmode=verify-full sslrootcert={}",
                Tls::name_of(server),
                tls.root().display()
            ),
        }
    }

    /// Connection string of `role` for the lab itself. Where strangers need TLS or a password,
    /// it goes through the socket in `data`, which only the lab can reach.
    pub(super) fn own(&self, role: &str, at: SocketAddr, data: &Path) -> String {
        let (ip, port) = (at.ip(), at.port());
        if self.has_socket() {
            format!("host={} port={port} user={role}", data.display())
        } else {
            format!("host={ip} port={port} user={role}")
        }
    }

    pub(super) fn has_socket(&self) -> bool {
        self.tls.is_some() || self.hosting == Hosting::Managed
    }

    /// `pg_hba.conf`; `wanted` is what a self-managed server is to have.
    pub(super) fn hba(&self, wanted: &str) -> String {
        let rules = match self.hosting {
            Hosting::SelfManaged => wanted,
            Hosting::Managed => MANAGED_HBA,
        };
        if self.tls.is_none() {
            return rules.to_owned();
        }
        let mut text = SOCKET_HBA.to_owned();
        for rule in rules.lines() {
            match rule.strip_prefix("host ") {
                Some(rest) => text.extend(["hostssl ", rest, "\n"]),
                None => text.extend([rule, "\n"]),
            }
        }
        text
    }
}

const SOCKET_HBA: &str = "local all all trust\nlocal replication all trust\n";

const MANAGED_HBA: &str = "\
local all all trust
local replication all trust
host rdsadmin all all reject
host all rdsadmin all reject
host replication rdsrepladmin 127.0.0.0/8 scram-sha-256
host all all 127.0.0.0/8 scram-sha-256
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_for_tcp_demand_tls() {
        let folder = tempfile::tempdir().unwrap();
        let tls = Tls::new(folder.path()).unwrap();
        let forced = Access::new(Hosting::SelfManaged, Some(tls));
        let hba = forced.hba("local all all trust\nhost all all 127.0.0.0/8 trust\nhostssl a b\n");
        let rules: Vec<_> = hba.lines().skip(2).collect();
        assert_eq!(
            rules,
            [
                "local all all trust",
                "hostssl all all 127.0.0.0/8 trust",
                "hostssl a b"
            ]
        );
    }
}
