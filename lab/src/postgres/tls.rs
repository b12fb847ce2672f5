//! The certificates of a pair's servers.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};

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
        let issued = self
            .authority
            .issue_for_names(data, "server", vec![Self::name_of(server)])?;
        // PostgreSQL refuses a key that others could read.
        fs::set_permissions(&issued.key, fs::Permissions::from_mode(0o600))?;
        if let Some(user) = user {
            for file in [&issued.key, &issued.certificate] {
                chown(file, Some(user.uid), Some(user.gid))
                    .with_context(|| format!("giving {} to its server", file.display()))?;
            }
        }
        Ok("ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n".to_owned())
    }
}
