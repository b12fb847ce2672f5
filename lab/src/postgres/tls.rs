//! The certificates of a pair's servers.

use std::{
    fmt, fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    authority::{Authority, TRUST_DOMAIN},
    process::ServerUser,
};

/// The authority that signs for a pair's servers.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    authority: Arc<Authority>,
    root: PathBuf,
}

impl Tls {
    /// A new authority, whose certificate lies below `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let authority = Authority::new("the lab's databases")?;
        let root = authority.write(folder.join("databases-ca.pem"))?;
        Ok(Self {
            authority: Arc::new(authority),
            root,
        })
    }

    /// Whom clients and standbys are to trust.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The name in the certificate of `server`. It resolves nowhere: connection strings say
    /// the address beside it.
    pub(crate) fn name_of(server: &str) -> String {
        format!("{server}.{TRUST_DOMAIN}")
    }

    /// Puts a certificate for `server` into its data directory, and returns the settings that
    /// make it use that.
    pub(super) fn equip(
        &self,
        server: &str,
        data: &Path,
        user: Option<ServerUser>,
    ) -> Result<String> {
        let name = Self::name_of(server);
        let names = [name.as_str(), NAME_OF_ALL];
        let issued = self.authority.issue_for_database(data, &name, &names)?;
        // PostgreSQL refuses a key that others could read.
        fs::set_permissions(&issued.key, fs::Permissions::from_mode(0o600))?;
        if let Some(user) = user {
            for file in [&issued.key, &issued.certificate] {
                chown(file, Some(user.uid), Some(user.gid))
                    .with_context(|| format!("giving {} to its server", file.display()))?;
            }
        }
        Ok(format!(
            "ssl = on\nssl_cert_file = '{name}.pem'\nssl_key_file = '{name}.key'\n"
        ))
    }

    /// For applications, which do not know beforehand which server a sidecar takes them to.
    pub(super) fn client(&self) -> Result<ClientTls> {
        let mut roots = RootCertStore::empty();
        let pem = self.authority.pem();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(ClientTls(MakeRustlsConnect::new(config)))
    }
}

/// How an application verifies the servers of a pair.
#[derive(Clone)]
pub struct ClientTls(MakeRustlsConnect);

impl ClientTls {
    /// A name that every server's certificate has.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME_OF_ALL
    }

    #[must_use]
    pub fn connector(&self) -> MakeRustlsConnect {
        self.0.clone()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

const NAME_OF_ALL: &str = "databases.lab.example";
