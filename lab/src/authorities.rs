//! The authorities of a lab in which everybody proves who they are.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    authority::{Authority, Claims, TRUST_DOMAIN},
    control_plane::Security,
};

/// One authority for each kind of certificate.
#[derive(Debug)]
pub struct Authorities {
    /// Signs the control plane's own certificates.
    pub servers: Authority,
    pub sidecars: Authority,
    pub operators: Authority,
}

impl Authorities {
    pub fn new() -> Result<Self> {
        Ok(Self {
            servers: Authority::new("servers")?,
            sidecars: Authority::new("sidecars")?,
            operators: Authority::new("operators")?,
        })
    }

    /// The flags of a control plane and of its operator `ann`, whose files lie in `folder`. That of the
    /// servers' authority is `servers.pem`.
    pub fn security(&self, folder: &Path) -> Result<Security> {
        let claims = Claims::of("/pointsman/control-plane");
        let server = self.servers.issue(folder, "server", claims)?;
        let claims = Claims::of("/pointsman/operator/ann");
        let ann = self.operators.issue(folder, "ann", claims)?;
        let of_servers = self.servers.write(folder.join("servers.pem"))?;
        let of_sidecars = self.sidecars.write(folder.join("sidecars.pem"))?;
        let of_operators = self.operators.write(folder.join("operators.pem"))?;
        let pair = |flag: &str, value: &PathBuf| [OsString::from(flag), value.into()];
        let mut serve = vec!["--trust-domain".into(), TRUST_DOMAIN.into()];
        for (flag, file) in [
            ("--xds-tls-cert", &server.certificate),
            ("--xds-tls-key", &server.key),
            ("--xds-tls-client-ca", &of_sidecars),
            ("--admin-tls-cert", &server.certificate),
            ("--admin-tls-key", &server.key),
            ("--admin-tls-client-ca", &of_operators),
        ] {
            serve.extend(pair(flag, file));
        }
        let verbs = [
            pair("--admin-cert", &ann.certificate),
            pair("--admin-key", &ann.key),
            pair("--admin-ca", &of_servers),
        ];
        Ok(Security {
            serve,
            verbs: verbs.into_iter().flatten().collect(),
            ..Security::default()
        })
    }
}
