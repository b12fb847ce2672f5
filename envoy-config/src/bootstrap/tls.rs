use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// How a sidecar proves to its control plane who it is, and knows it in turn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsToControlPlane {
    /// The file that holds [`Secrets::certificate`].
    pub certificate: PathBuf,
    /// The file that holds [`Secrets::authorities`].
    pub authorities: PathBuf,
    /// The SPIFFE ID that the control plane's certificate must have.
    pub server: String,
}

impl TlsToControlPlane {
    pub(super) fn transport_socket(&self) -> Value {
        json!({
            "name": "tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {
                    // As a client Envoy stops at TLS 1.2 unless told.
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3",
                        "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    "alpn_protocols": ["h2"],
                    // From files: fetched over the very stream that it opens, the certificate
                    // makes Envoy crash at its start.
                    "tls_certificate_sds_secret_configs": [
                        from_file(CERTIFICATE, &self.certificate),
                    ],
                    "combined_validation_context": {
                        "default_validation_context": { "match_typed_subject_alt_names": [
                            { "san_type": "URI", "matcher": { "exact": self.server } },
                        ] },
                        "validation_context_sds_secret_config":
                            from_file(AUTHORITIES, &self.authorities),
                    },
                },
            },
        })
    }
}

/// Where a sidecar finds its TLS material, each file PEM. What is replaced there by a rename
/// is used for the next connection; the present one stays.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Secrets {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who may sign the control plane's certificate.
    pub authorities: PathBuf,
}

impl Secrets {
    /// The file, JSON, that leads Envoy to certificate and key.
    pub fn certificate(&self) -> String {
        secret(&json!({
            "@type": SECRET,
            "name": CERTIFICATE,
            "tls_certificate": {
                "certificate_chain": { "filename": self.certificate },
                "private_key": { "filename": self.key },
                "watched_directory": { "path": folder(&self.certificate) },
            },
        }))
    }

    /// The file, JSON, that leads Envoy to the authorities.
    pub fn authorities(&self) -> String {
        secret(&json!({
            "@type": SECRET,
            "name": AUTHORITIES,
            "validation_context": {
                "trusted_ca": { "filename": self.authorities },
                "watched_directory": { "path": folder(&self.authorities) },
            },
        }))
    }
}

fn secret(secret: &Value) -> String {
    format!("{:#}\n", json!({ "resources": [secret] }))
}

fn from_file(name: &str, path: &Path) -> Value {
    json!({
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "path_config_source": { "path": path },
        },
    })
}

/// A file name alone lies in the folder that the sidecar is started in.
fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

const CERTIFICATE: &str = "certificate";
const AUTHORITIES: &str = "authorities";
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
