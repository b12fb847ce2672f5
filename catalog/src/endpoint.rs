use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Serialize};

/// One address of a server, `host:port`, an IPv6 address in brackets. The host may be a
/// name. It is resolved periodically, because EDS takes only IP addresses. Endpoints that differ
/// only in case, or in the notation of an IPv6 address, are equal.
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
        let port = match port.as_bytes() {
            [b'1'..=b'9', ..] => port.parse().map_err(|_| refuse())?,
            _ => return Err(refuse()),
        };
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bracketed {
            Some(address) => address
                .parse::<Ipv6Addr>()
                .map_err(|_| refuse())?
                .to_string(),
            None => host.to_ascii_lowercase(),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bracketed.is_none() && (host.is_empty() || !host.chars().all(plain)) {
            return Err(refuse());
        }
        Ok(Self { host, port })
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
    fn two_spellings_of_one_endpoint_are_equal() {
        for (one, other) in [("DB1:5432", "db1:5432"), ("[::0:1]:5432", "[::1]:5432")] {
            assert_eq!(one.parse::<Endpoint>(), other.parse());
        }
    }

    #[test]
    fn port_zero_and_missing_parts_are_refused() {
        for bad in [
            "a", "a:", ":1", "a:0", "a:65536", "a:+1", "a:01", "a b:1", "::1:5432", "[a]:1",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad:?}");
        }
    }
}
