use std::sync::Arc;

use anyhow::Context as _;
use pointsman_xds::{Identity, ServerTls, TlsFiles};

/// The certificates of the two listeners; without one a listener speaks plain text.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) xds: Option<TlsFiles>,
    pub(crate) admin: Option<TlsFiles>,
}

/// What the files of [`Tls`] held.
pub(super) struct LoadedTls {
    /// With the SPIFFE ID in its certificate.
    pub(super) xds: Option<(Arc<ServerTls>, Identity)>,
    pub(super) admin: Option<Arc<ServerTls>>,
}

impl LoadedTls {
    pub(super) async fn read(tls: &Tls) -> anyhow::Result<Self> {
        let xds = match load(tls.xds.as_ref(), "sidecars").await? {
            None => None,
            Some(tls) => {
                let identity = tls.identity().context(
                    "the certificate of --xds-tls-cert has no SPIFFE ID, and sidecars know the \
                     control plane by nothing else: have one made with the URI name \
                     spiffe://<trust domain>/pointsman/control-plane",
                )?;
                Some((tls, identity))
            }
        };
        Ok(Self {
            xds,
            admin: load(tls.admin.as_ref(), "operators").await?,
        })
    }

    /// The name by which sidecars know the control plane.
    pub(super) fn xds_identity(&self) -> String {
        let named = self.xds.as_ref();
        named.map_or_else(String::new, |(_, identity)| identity.to_string())
    }
}

async fn load(files: Option<&TlsFiles>, clients: &str) -> anyhow::Result<Option<Arc<ServerTls>>> {
    let Some(files) = files else { return Ok(None) };
    let tls = ServerTls::load(files.clone())
        .await
        .with_context(|| format!("the listener for {clients} has no usable certificate"))?;
    Ok(Some(Arc::new(tls)))
}
