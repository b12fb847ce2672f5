//! Which of libpq's keywords are taken, and why the others are refused.
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>

/// What a connection string is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// This program connects by it.
    Control,
    /// The libpq of another server connects by it.
    Replication,
}

/// Those of `keywords` that `purpose` does not take, each with the reason. A word that is no
/// keyword of libpq may be a part of a password and is not repeated after one.
pub(crate) fn refused<'a>(
    keywords: impl Iterator<Item = &'a str>,
    purpose: Purpose,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut last = None;
    for key in keywords {
        match KEYWORDS.iter().find(|keyword| keyword.name == key) {
            Some(keyword) => {
                let refused = match purpose {
                    Purpose::Control => keyword.control,
                    Purpose::Replication => keyword.replication,
                };
                if let Refused(reason) = refused {
                    faults.push(format!("{key}=: {reason}"));
                }
            }
            None if last == Some("password") => faults.push(
                "an unknown keyword after password=…; allowed: password='…' for a value with spaces"
                    .to_owned(),
            ),
            None => faults.push(format!("{key:?} is no keyword of libpq's")),
        }
        last = Some(key);
    }
    faults.dedup();
    faults
}

#[derive(Clone, Copy)]
enum Verdict {
    Taken,
    Refused(&'static str),
}
use Verdict::{Refused, Taken};

struct Keyword {
    name: &'static str,
    control: Verdict,
    replication: Verdict,
}

const fn both(name: &'static str, verdict: Verdict) -> Keyword {
    Keyword {
        name,
        control: verdict,
        replication: verdict,
    }
}

/// What this program does not do, and libpq does.
const fn libpq_only(name: &'static str, reason: &'static str) -> Keyword {
    Keyword {
        name,
        control: Refused(reason),
        replication: Taken,
    }
}

/// What a session of this program takes, and a subscription sets by itself.
const fn control_only(name: &'static str, reason: &'static str) -> Keyword {
    Keyword {
        name,
        control: Taken,
        replication: Refused(reason),
    }
}

const KEYWORDS: &[Keyword] = &[
    both("host", Taken),
    both("hostaddr", Taken),
    both("port", Taken),
    both("user", Taken),
    both("dbname", Taken),
    both("password", Refused(PASSWORD)),
    both("passfile", Taken),
    control_only("service", SERVICE),
    control_only("servicefile", SERVICE),
    both("sslmode", Taken),
    both("sslrootcert", Taken),
    both("sslcert", Taken),
    both("sslkey", Taken),
    both(
        "sslpassword",
        Refused(
            "a passphrase would stand in the store; use a key without one, readable by its owner only",
        ),
    ),
    both("sslnegotiation", Taken),
    both("sslsni", Taken),
    both("ssl_min_protocol_version", Taken),
    both("ssl_max_protocol_version", Taken),
    libpq_only(
        "sslcrl",
        "revocation lists are not read; use certificates that live shortly",
    ),
    libpq_only(
        "sslcrldir",
        "revocation lists are not read; use certificates that live shortly",
    ),
    libpq_only(
        "sslcertmode",
        "not supported; a certificate is sent when sslcert= names one",
    ),
    libpq_only(
        "sslkeylogfile",
        "not supported: it would write the session's keys to a file",
    ),
    both(
        "sslcompression",
        Refused("compression inside TLS is not supported by anybody any more"),
    ),
    both("channel_binding", Taken),
    libpq_only(
        "require_auth",
        "not supported; channel_binding=require lets nothing but SCRAM pass",
    ),
    control_only(
        "options",
        "a subscription sets the options of its sessions itself",
    ),
    both(
        "application_name",
        Refused("sessions are named by Pointsman, which finds them again by their names"),
    ),
    both(
        "fallback_application_name",
        Refused("sessions are named by Pointsman, which finds them again by their names"),
    ),
    both("keepalives", Taken),
    both("keepalives_idle", Taken),
    both("keepalives_interval", Taken),
    both("keepalives_count", Taken),
    both("tcp_user_timeout", Taken),
    libpq_only(
        "connect_timeout",
        "a session is waited for 2 s, all its hosts together; a hold could not wait longer",
    ),
    libpq_only(
        "target_session_attrs",
        "it chooses between servers by their role, and a switch changes the roles; declare each server by itself, several hosts= only as addresses of one",
    ),
    libpq_only(
        "load_balance_hosts",
        "hosts are addresses of one server and are tried in their order",
    ),
    libpq_only("client_encoding", "sessions are UTF8"),
    both(
        "replication",
        Refused("set by Pointsman where it is needed"),
    ),
    both("gssencmode", Taken),
    libpq_only("krbsrvname", "GSSAPI is not supported"),
    libpq_only("gsslib", "GSSAPI is not supported"),
    libpq_only("gssdelegation", "GSSAPI is not supported"),
    libpq_only(
        "requirepeer",
        "not supported; give the socket's folder the right owner",
    ),
    libpq_only(
        "min_protocol_version",
        "not supported; version 3.0 is spoken",
    ),
    libpq_only(
        "max_protocol_version",
        "not supported; version 3.0 is spoken",
    ),
    both(
        "scram_client_key",
        Refused("a secret would stand in the store"),
    ),
    both(
        "scram_server_key",
        Refused("a secret would stand in the store"),
    ),
    libpq_only("oauth_issuer", "OAuth is not supported"),
    libpq_only("oauth_client_id", "OAuth is not supported"),
    both(
        "oauth_client_secret",
        Refused("a secret would stand in the store"),
    ),
    libpq_only("oauth_scope", "OAuth is not supported"),
];

const PASSWORD: &str = "a password would stand in the store and in this file; allowed: passfile=FILE, or a field control_password or replication_password with { file = \"…\" } or { environment = \"…\" }";
const SERVICE: &str =
    "the service file would be one of the other server; give host= and user= here";

#[cfg(test)]
mod tests {
    use super::{super::Conninfo, *};

    fn of(text: &str, purpose: Purpose) -> String {
        refused(Conninfo::parse(text).unwrap().keywords(), purpose).join("; ")
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let found = of(
            "host=a sslcrl=/crl target_session_attrs=primary",
            Purpose::Control,
        );
        assert!(found.contains("sslcrl=: revocation lists"), "{found}");
        assert!(
            found.contains("target_session_attrs=: it chooses"),
            "{found}"
        );
        let found = of("host=a sslcrl=/crl", Purpose::Replication);
        assert_eq!(found, "", "libpq itself takes it");
    }

    #[test]
    fn a_word_that_may_belong_to_a_password_is_not_repeated() {
        assert_eq!(
            of("sslmoed=require", Purpose::Control),
            "\"sslmoed\" is no keyword of libpq's"
        );
        let found = of("password=my secret=word", Purpose::Control);
        assert!(!found.contains("secret="), "{found}");
    }
}
