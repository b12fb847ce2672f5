//! What a server's declaration comes to, once the files that it names are read.

use pointsman_catalog::{
    ChannelBinding, ConnectionSpec, Conninfo, Host, PasswordSource, Secret, Server, SslMode,
};

use super::{
    Login, Way,
    password_file::{self, Wanted},
    service_file,
    sources::{Guard, SecretSources},
};

/// How the control role reaches a server.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) spec: ConnectionSpec,
    pub(super) user: String,
    /// From its source, or from the service file.
    fixed: Option<Secret>,
    /// The text of the password file.
    passfile: Option<Secret>,
    /// The hosts as another machine reaches them: the endpoint stands in for a Unix socket.
    over_tcp: Vec<Host>,
}

impl Access {
    pub(super) fn of(server: &Server, sources: &SecretSources) -> Result<Self, String> {
        let info = conninfo(server, sources)?;
        let malformed = |faults: Vec<String>| {
            format!("its `control` string is malformed: {}", faults.join("; "))
        };
        let unsupported = info.clone().without(&["password"]).unsupported();
        if !unsupported.is_empty() {
            return Err(malformed(unsupported));
        }
        let spec = ConnectionSpec::read(&info).map_err(malformed)?;
        if spec.hosts.is_empty() {
            return Err("its `control` string gives no host=".to_owned());
        }
        let user = spec.user.clone();
        let passfile = match &spec.passfile {
            Some(path) => Some(sources.read(path, Guard::Owner)?),
            None => None,
        };
        let fixed = match &server.control_password {
            Some(source) => Some(password(source, sources)?),
            None => info.get("password").map(Secret::new),
        };
        Ok(Self {
            user: user.ok_or("its `control` string gives no user=")?,
            fixed,
            passfile,
            over_tcp: over_tcp(server, &spec.hosts),
            spec,
        })
    }

    /// Where a connection goes.
    pub(super) fn hosts(&self, way: Way) -> Vec<Host> {
        match way {
            Way::Direct => self.spec.hosts.clone(),
            Way::Tcp => self.over_tcp.clone(),
            Way::Through(listener) => self
                .over_tcp
                .iter()
                .take(1)
                .map(|host| Host {
                    address: Some(listener.ip()),
                    port: listener.port(),
                    name: host
                        .name
                        .clone()
                        .or_else(|| host.address.map(|ip| ip.to_string())),
                })
                .collect(),
        }
    }

    /// The password for one connection. What stands between this machine and the server gets none
    /// unless the server has proved who it is.
    pub(super) fn password(
        &self,
        host: &Host,
        login: &Login<'_>,
    ) -> Result<Option<Secret>, String> {
        let Way::Through(_) = login.way else {
            return Ok(self.find(host, login.datname));
        };
        // A password file knows the server and not the listener.
        let server = self.over_tcp.first().unwrap_or(host);
        let found = self.find(server, login.datname);
        if found.is_some() && !self.proves_the_server() {
            return Err(
                "its password is not sent through a sidecar, which could read it; allowed: with \
                 sslmode=verify-full, or verify-ca and channel_binding=require, in `probe` or in `control`"
                    .to_owned(),
            );
        }
        Ok(found)
    }

    /// Whether nobody but the server can be at the other end. With `verify-ca` alone it can be
    /// whoever has a certificate of the same authority.
    fn proves_the_server(&self) -> bool {
        let bound = self.spec.channel_binding == ChannelBinding::Require;
        match self.spec.tls.mode {
            SslMode::VerifyFull => true,
            SslMode::VerifyCa => bound,
            SslMode::Disable | SslMode::Prefer | SslMode::Require => false,
        }
    }

    /// The password at the first host.
    pub(super) fn first_password(&self, datname: &str) -> Result<Option<Secret>, String> {
        let first = self.spec.hosts.first().ok_or("it has no host")?;
        Ok(self.find(first, datname))
    }

    /// What the password file of the control string has for the first host of another one.
    fn password_for(&self, info: &Conninfo, datname: &str) -> Option<Secret> {
        let first = |key| info.get(key).and_then(|all| all.split(',').next());
        let named = first("host").filter(|host| !host.is_empty());
        let wanted = Wanted {
            host: named.or_else(|| first("hostaddr")).unwrap_or_default(),
            port: first("port")
                .and_then(|port| port.parse().ok())
                .unwrap_or(PORT),
            datname,
            user: info.get("user")?,
        };
        password_file::find(self.passfile.as_ref()?, &wanted)
    }

    fn find(&self, host: &Host, datname: &str) -> Option<Secret> {
        if self.fixed.is_some() {
            return self.fixed.clone();
        }
        let address = host.address.map(|address| address.to_string());
        let wanted = Wanted {
            host: host
                .name
                .as_deref()
                .or(address.as_deref())
                .unwrap_or_default(),
            port: host.port,
            datname,
            user: &self.user,
        };
        password_file::find(self.passfile.as_ref()?, &wanted)
    }
}

fn over_tcp(server: &Server, hosts: &[Host]) -> Vec<Host> {
    let endpoint = || Host {
        name: Some(server.endpoint.host().to_owned()),
        address: None,
        port: server.endpoint.port(),
    };
    let reached = hosts.iter().map(|host| match host.socket_folder() {
        Some(_) => endpoint(),
        None => host.clone(),
    });
    reached.collect()
}

/// The string by which another server subscribes to `server`.
pub(super) fn replication(
    server: &Server,
    sources: &SecretSources,
    datname: &str,
    application_name: &str,
) -> Result<Secret, String> {
    let (info, password) = match &server.replication {
        Some(text) => {
            let info = Conninfo::parse(text)
                .map_err(|reason| format!("its `replication` string is malformed: {reason}"))?;
            let password = match &server.replication_password {
                Some(source) => Some(password(source, sources)?),
                // Its own words come first; a file that it names is on the other server.
                None if ["password", "passfile"]
                    .iter()
                    .any(|key| info.get(key).is_some()) =>
                {
                    None
                }
                None => Access::of(server, sources)?.password_for(&info, datname),
            };
            (info, password)
        }
        None => {
            let access = Access::of(server, sources)?;
            let mut info = conninfo(server, sources)?.without(THIS_MACHINES);
            // A socket is a folder of the machine that the server runs on.
            if access
                .spec
                .hosts
                .iter()
                .any(|host| host.socket_folder().is_some())
            {
                info = info
                    .without(&["host", "hostaddr", "port"])
                    .with("host", server.endpoint.host())
                    .with("port", &server.endpoint.port().to_string());
            }
            (info, access.first_password(datname)?)
        }
    };
    let mut info = info
        .with("dbname", datname)
        .with("application_name", application_name);
    if let Some(password) = password {
        info = info.with("password", password.reveal());
    }
    Ok(Secret::new(info.render()))
}

/// The control string, with what its service file adds.
fn conninfo(server: &Server, sources: &SecretSources) -> Result<Conninfo, String> {
    let info = Conninfo::parse(&server.control)
        .map_err(|reason| format!("its `control` string is malformed: {reason}"))?;
    let (Some(service), Some(file)) = (info.get("service"), info.get("servicefile")) else {
        return Ok(info);
    };
    let text = sources.read(file.as_ref(), Guard::Anybody)?;
    let defaults = service_file::find(&text, service)
        .map_err(|reason| format!("service file {file}: {reason}"))?;
    Ok(info.or(defaults))
}

fn password(source: &PasswordSource, sources: &SecretSources) -> Result<Secret, String> {
    match source {
        PasswordSource::Environment(name) => sources.variable(name),
        PasswordSource::File(path) => {
            let text = sources.read(path, Guard::Group)?;
            let text = text.reveal();
            let line = text.strip_suffix('\n').unwrap_or(text);
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() || line.contains('\n') {
                return Err(format!(
                    "password file {} holds {}; allowed: the password on one line. A file in \
                     libpq's format is named by passfile= in `control`",
                    path.display(),
                    if line.is_empty() {
                        "nothing"
                    } else {
                        "several lines"
                    }
                ));
            }
            Ok(Secret::new(line))
        }
    }
}

/// PostgreSQL's own.
const PORT: u16 = 5432;

/// What the other server's libpq could not follow, or does itself.
const THIS_MACHINES: &[&str] = &["options", "passfile", "password", "service", "servicefile"];

#[cfg(test)]
mod tests {
    use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _};

    use pointsman_catalog::{FenceLevel, ServerName};
    use pointsman_lab::scratch::Scratch;

    use super::*;

    fn server(control: &str) -> Server {
        Server {
            name: ServerName::new("blue").unwrap(),
            endpoint: "db.example:5432".parse().unwrap(),
            control: control.to_owned(),
            control_password: None,
            replication: None,
            replication_password: None,
            probe: None,
            probe_password: None,
            fence: FenceLevel::Sql,
        }
    }

    fn access(control: &str, passfile: &str) -> Access {
        let sources = SecretSources::unrestricted();
        let access = Access::of(&server(control), &sources).unwrap();
        Access {
            passfile: Some(Secret::new(passfile)),
            ..access
        }
    }

    /// The password for a connection by a sidecar's listener.
    fn through(access: &Access) -> Result<Option<String>, String> {
        let login = Login {
            datname: "orders",
            application_name: "",
            options: "",
            stranger: None,
            way: Way::Through(SocketAddr::from(([127, 0, 0, 11], 6432))),
        };
        let host = access.hosts(login.way).remove(0);
        assert_eq!(host.port, 6432);
        let password = access.password(&host, &login)?;
        Ok(password.map(|secret| secret.reveal().to_owned()))
    }

    #[test]
    fn a_password_file_is_asked_for_the_server_behind_a_listener() {
        let control = "host=db.example port=5432 user=u sslmode=verify-full sslrootcert=/ca.pem";
        let found = through(&access(
            control,
            "db.example:5432:*:u:right\n*:6432:*:u:wrong\n",
        ));
        assert_eq!(found, Ok(Some("right".to_owned())));
    }

    #[test]
    fn a_certificate_of_the_same_authority_alone_gets_no_password() {
        let of = |tls: &str| {
            let control = format!("host=db.example user=u {tls}");
            through(&access(&control, "*:*:*:u:known\n"))
        };
        for refused in ["sslmode=require", "sslmode=verify-ca sslrootcert=/ca.pem"] {
            assert!(of(refused).is_err(), "{refused}");
        }
        for sent in [
            "sslmode=verify-full sslrootcert=/ca.pem",
            "sslmode=verify-ca sslrootcert=/ca.pem channel_binding=require",
        ] {
            assert_eq!(of(sent), Ok(Some("known".to_owned())), "{sent}");
        }
    }

    #[test]
    fn another_server_subscribes_over_tcp_where_control_goes_by_a_socket() {
        let server = server("host=/run/postgresql port=5433 user=u");
        let sources = SecretSources::unrestricted();
        let info = replication(&server, &sources, "orders", "a").unwrap();
        let info = Conninfo::parse(info.reveal()).unwrap();
        assert_eq!(info.get("host"), Some("db.example"));
        assert_eq!(info.get("port"), Some("5432"));
    }

    /// What another server subscribes by, with this `replication` string and a password file of
    /// `control`.
    fn rendered(text: &str) -> String {
        let scratch = Scratch::new().unwrap();
        let file = scratch.path().join("pgpass");
        let lines = "db.example:5433:orders:repl:of-repl\n*:*:*:master:of-master\n";
        fs::write(&file, lines).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let control = format!("host=db.example user=master passfile={}", file.display());
        let server = Server {
            replication: Some(text.to_owned()),
            ..server(&control)
        };
        let sources = SecretSources::unrestricted();
        let string = replication(&server, &sources, "orders", "pointsman");
        string.unwrap().reveal().to_owned()
    }

    #[test]
    fn a_replication_string_gets_its_password_from_the_password_file_of_control() {
        let found = rendered("host=db.example,other.example port=5433 user=repl");
        assert!(found.contains("of-repl"), "{found}");
        let found = rendered("host=db.example user=master");
        assert!(found.contains("of-master"), "{found}");
    }

    #[test]
    fn what_a_replication_string_says_itself_comes_first() {
        for own in [
            "host=db.example port=5433 user=repl passfile=/on/the/other/server",
            "host=db.example port=5433 user=repl password=own",
            "host=db.example port=5434 user=repl",
            "host=elsewhere.example port=5433 user=repl",
        ] {
            let found = rendered(own);
            assert!(!found.contains("of-"), "{found}");
        }
    }
}
