//! Whether a certificate is for a host, by libpq's rules: the names of the extension, else the common
//! name.
//! <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-SERVER-CERTIFICATES>

use std::net::IpAddr;

use rustls::pki_types::UnixTime;
use x509_cert::{
    Certificate, TbsCertificate,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// Why a certificate is not the host's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum WrongName {
    #[error("its certificate cannot be read")]
    Unreadable,
    #[error("its certificate is for {}, not for {host:?} (host= in the connection string)", listed(.presented))]
    Other {
        host: String,
        presented: Vec<String>,
    },
    #[error("its certificate has expired, or is not valid yet")]
    OutOfTime,
}

/// Whether the certificate `der` is for `host`.
pub(super) fn check(der: &[u8], host: &str) -> Result<(), WrongName> {
    let certificate = Certificate::from_der(der).map_err(|_| WrongName::Unreadable)?;
    let presented = Presented::of(certificate.tbs_certificate())?;
    if presented.include(host) {
        return Ok(());
    }
    Err(WrongName::Other {
        host: host.to_owned(),
        presented: presented.listed(),
    })
}

/// Whether the certificate `der` is valid at `now`.
pub(super) fn check_validity(der: &[u8], now: UnixTime) -> Result<(), WrongName> {
    let certificate = Certificate::from_der(der).map_err(|_| WrongName::Unreadable)?;
    let validity = certificate.tbs_certificate().validity();
    let [from, to] =
        [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
    match (from..=to).contains(&now.as_secs()) {
        true => Ok(()),
        false => Err(WrongName::OutOfTime),
    }
}

/// The names in a certificate.
#[derive(Debug, Default)]
struct Presented {
    dns: Vec<String>,
    ips: Vec<IpAddr>,
    common: Option<String>,
}

impl Presented {
    fn of(certificate: &TbsCertificate) -> Result<Self, WrongName> {
        let mut found = Self::default();
        let names = certificate
            .get_extension::<SubjectAltName>()
            .map_err(|_| WrongName::Unreadable)?;
        for name in names.iter().flat_map(|(_critical, names)| &names.0) {
            match name {
                GeneralName::DnsName(name) => found.dns.push(name.as_str().to_owned()),
                GeneralName::IpAddress(bytes) => found.ips.extend(address(bytes.as_bytes())),
                GeneralName::OtherName(_)
                | GeneralName::Rfc822Name(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EdiPartyName(_)
                | GeneralName::UniformResourceIdentifier(_)
                | GeneralName::RegisteredId(_) => {}
            }
        }
        let common = certificate.subject().common_name();
        let common = common.map_err(|_| WrongName::Unreadable)?;
        found.common = common.map(|name| name.value().into_owned());
        Ok(found)
    }

    fn include(&self, host: &str) -> bool {
        let by_common = || {
            let common = self.common.as_deref();
            common.is_some_and(|common| dns_matches(common, host))
        };
        match host.parse::<IpAddr>() {
            Ok(address) => {
                let exact = |name: &String| name.eq_ignore_ascii_case(host);
                self.ips.contains(&address)
                    || self.dns.iter().any(exact)
                    || (self.ips.is_empty() && self.common.as_ref().is_some_and(exact))
            }
            Err(_) => {
                self.dns.iter().any(|name| dns_matches(name, host))
                    || (self.dns.is_empty() && self.ips.is_empty() && by_common())
            }
        }
    }

    fn listed(self) -> Vec<String> {
        let ips = self.ips.iter().map(ToString::to_string);
        let mut all: Vec<_> = self.dns.into_iter().chain(ips).collect();
        if all.is_empty() {
            all.extend(self.common);
        }
        all
    }
}

/// As in libpq, a star at the beginning stands for one or more characters of one label.
fn dns_matches(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(domain) = pattern
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
    else {
        return false;
    };
    let Some(at) = host.find('.') else {
        return false;
    };
    at > 0 && domain.len() > 1 && host[at..].eq_ignore_ascii_case(domain)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no host at all".to_owned(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(dns: &[&str], ips: &[&str], common: &str) -> Presented {
        Presented {
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            common: Some(common.to_owned()).filter(|name| !name.is_empty()),
        }
    }

    #[test]
    fn a_name_of_the_extension_or_else_the_common_name_is_the_hosts() {
        for (names, host, matches) in [
            (presented(&["db.example"], &[], ""), "DB.example", true),
            (
                presented(&["other.example"], &[], "db.example"),
                "db.example",
                false,
            ),
            (presented(&[], &[], "db.example"), "db.example", true),
            (
                presented(&[], &["10.0.0.1"], "db.example"),
                "db.example",
                false,
            ),
            (presented(&[], &["10.0.0.1"], ""), "10.0.0.1", true),
            (presented(&[], &["::1"], ""), "0:0::1", true),
            (presented(&["10.0.0.1"], &[], ""), "10.0.0.1", true),
            (presented(&[], &[], "10.0.0.1"), "10.0.0.1", true),
            (presented(&[], &["10.0.0.2"], "10.0.0.1"), "10.0.0.1", false),
            (presented(&["db.example"], &[], ""), "", false),
        ] {
            assert_eq!(names.include(host), matches, "{names:?} {host}");
        }
    }

    #[test]
    fn a_star_stands_for_one_label_in_front() {
        for (pattern, host, matches) in [
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("d*.example.com", "db.example.com", false),
            ("*", "db", false),
            ("*.", "db.", false),
        ] {
            assert_eq!(dns_matches(pattern, host), matches, "{pattern} {host}");
        }
    }
}
