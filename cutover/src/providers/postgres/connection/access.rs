//! What a server's declaration comes to, once the files that it names are read.

use pointsman_catalog::{ConnectionSpec, Conninfo, Host, PasswordSource, Secret, Server, SslMode};

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
            spec,
        })
    }

    /// Where a connection goes.
    pub(super) fn hosts(&self, server: &Server, way: Way) -> Vec<Host> {
        let endpoint = || Host {
            name: Some(server.endpoint.host().to_owned()),
            address: None,
            port: server.endpoint.port(),
        };
        let over_tcp = self.spec.hosts.iter().map(|host| {
            if host.socket_folder().is_some() {
                endpoint()
            } else {
                host.clone()
            }
        });
        match way {
            Way::Direct => self.spec.hosts.clone(),
            Way::Tcp => over_tcp.collect(),
            Way::Through(listener) => over_tcp
                .take(1)
                .map(|host| Host {
                    address: Some(listener.ip()),
                    port: listener.port(),
                    name: host.name.or_else(|| host.address.map(|ip| ip.to_string())),
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
        let found = self.find(host, login.datname);
        let verified = self.spec.tls.mode >= SslMode::VerifyCa;
        if found.is_some() && matches!(login.way, Way::Through(_)) && !verified {
            return Err(
                "its password is not sent through a sidecar, which could read it; allowed: with \
                 sslmode=verify-ca or verify-full, in `probe` or in `control`"
                    .to_owned(),
            );
        }
        Ok(found)
    }

    /// The password at the first host.
    pub(super) fn first_password(&self, datname: &str) -> Result<Option<Secret>, String> {
        let first = self.spec.hosts.first().ok_or("it has no host")?;
        Ok(self.find(first, datname))
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
            let source = server.replication_password.as_ref();
            let password = source.map(|source| password(source, sources)).transpose()?;
            (info, password)
        }
        None => {
            let access = Access::of(server, sources)?;
            let info = conninfo(server, sources)?.without(THIS_MACHINES);
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

/// What the other server's libpq could not follow, or does itself.
const THIS_MACHINES: &[&str] = &["options", "passfile", "password", "service", "servicefile"];
