use std::{path::PathBuf, str::FromStr};

use serde_json::{Value, json};

use super::http2::http2;
use crate::names::CACHE_CLUSTER;

/// The Unix socket of the cache beside a sidecar, `unix:/path`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CacheSocket(PathBuf);

/// Why a text names no socket that Envoy can connect to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CacheSocketError {
    #[error("it does not begin with unix: like unix:/run/pointsman/app-1.sock")]
    Scheme,
    #[error("the path of the socket must begin with /, like unix:/run/pointsman/app-1.sock")]
    Relative,
    #[error("the path of a Unix socket has {MAX_PATH} bytes at most, and this one has {0}")]
    Long(usize),
}

impl CacheSocket {
    pub(super) fn cluster(&self) -> Value {
        json!({
            "name": CACHE_CLUSTER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": http2(),
            "load_assignment": {
                "cluster_name": CACHE_CLUSTER,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                    "address": { "pipe": { "path": self.0 } },
                } }] }],
            },
        })
    }

    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl FromStr for CacheSocket {
    type Err = CacheSocketError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix("unix:").ok_or(CacheSocketError::Scheme)?;
        if !path.starts_with('/') {
            return Err(CacheSocketError::Relative);
        }
        if path.len() > MAX_PATH {
            return Err(CacheSocketError::Long(path.len()));
        }
        Ok(Self(path.into()))
    }
}

/// Envoy asks a second server only with the first, and goes back to the first only with the second.
/// Both are experimental in Envoy 1.40.
pub(super) fn static_layer() -> Value {
    json!({
        "envoy.restart_features.xds_failover_support": true,
        "envoy.reloadable_features.xds_failover_to_primary_enabled": true,
    })
}

/// `sun_path` has 108 bytes, with the zero at its end.
const MAX_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_an_absolute_path_that_fits_into_an_address() {
        let longest = format!("unix:/{}", "x".repeat(MAX_PATH - 1));
        assert!(longest.parse::<CacheSocket>().is_ok());
        for (text, error) in [
            ("/run/a.sock", CacheSocketError::Scheme),
            ("http://127.0.0.1:1", CacheSocketError::Scheme),
            ("unix:", CacheSocketError::Relative),
            ("unix:a.sock", CacheSocketError::Relative),
            (&format!("{longest}x"), CacheSocketError::Long(108)),
        ] {
            assert_eq!(text.parse::<CacheSocket>(), Err(error), "{text}");
        }
    }
}
