use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One address of a server, `host:port`. The host may be a name; it is resolved
/// anew at each publish, because EDS takes only IP addresses.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why an endpoint was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("endpoint {0:?} is not HOST:PORT with a port from 1 to 65535")]
pub struct EndpointError(String);

impl Endpoint {
    /// The host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let refuse = || EndpointError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let host = host
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(host);
        let port = port.parse().ok().filter(|&port| port != 0);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        match port {
            Some(port) if !host.is_empty() && host.chars().all(plain) => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_and_prints_the_same() {
        for text in ["db.example.com:5432", "127.0.0.1:6432", "[::1]:5432"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn port_zero_and_missing_parts_are_refused() {
        for bad in ["a", "a:", ":1", "a:0", "a:65536", "a b:1"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad:?}");
        }
    }
}
