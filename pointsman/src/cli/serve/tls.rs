use std::path::PathBuf;

use clap::Args;
use pointsman_xds::{TlsFiles, TrustDomain};

use crate::serve::Tls;

/// Certificates of the two listeners. Files are PEM and may change at any time.
#[derive(Args, Debug)]
pub(super) struct Certificates {
    /// The trust domain of every SPIFFE ID that is let in, such as example.org
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    /// The certificate that sidecars are shown
    #[arg(long, value_name = "FILE", requires_all = ["xds_tls_key", "xds_tls_client_ca", "trust_domain"])]
    xds_tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "xds_tls_cert")]
    xds_tls_key: Option<PathBuf>,
    /// The authorities that sign sidecars' certificates
    #[arg(long, value_name = "FILE", requires = "xds_tls_cert")]
    xds_tls_client_ca: Option<PathBuf>,
    /// The certificate that operators are shown
    #[arg(long, value_name = "FILE", requires_all = ["admin_tls_key", "admin_tls_client_ca", "trust_domain"])]
    admin_tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "admin_tls_cert")]
    admin_tls_key: Option<PathBuf>,
    /// The authorities that sign operators' certificates; not those that sign sidecars'
    #[arg(long, value_name = "FILE", requires = "admin_tls_cert")]
    admin_tls_client_ca: Option<PathBuf>,
}

impl Certificates {
    pub(super) fn into_options(self) -> Tls {
        let Self {
            trust_domain,
            xds_tls_cert,
            xds_tls_key,
            xds_tls_client_ca,
            admin_tls_cert,
            admin_tls_key,
            admin_tls_client_ca,
        } = self;
        let files = |certificate: Option<PathBuf>, key: Option<PathBuf>, ca: Option<PathBuf>| {
            Some(TlsFiles {
                certificate: certificate?,
                key: key?,
                client_authorities: ca?,
                trust_domain: Some(trust_domain.clone()?),
            })
        };
        Tls {
            xds: files(xds_tls_cert, xds_tls_key, xds_tls_client_ca),
            admin: files(admin_tls_cert, admin_tls_key, admin_tls_client_ca),
        }
    }
}
