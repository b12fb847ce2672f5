//! Checks a control or replication string without a server.

use crate::conninfo::Conninfo;

/// The purpose of a connection string.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    Control,
    Replication,
}

/// All faults of `text`.
pub(super) fn faults(text: &str, purpose: Purpose) -> Vec<String> {
    let pairs = match Conninfo::parse(text) {
        Ok(pairs) => pairs,
        Err(message) => return vec![message],
    };
    let mut faults = Vec::new();
    let hosts = [pairs.get("host"), pairs.get("hostaddr")];
    if hosts.iter().flatten().all(|host| host.is_empty()) {
        faults.push(format!("no host=; allowed: {}", Conninfo::FORM));
    }
    // Otherwise the server of the session would not be determined.
    if hosts.iter().flatten().any(|host| host.contains(',')) {
        faults.push("several hosts in host=; allowed: one".to_owned());
    }
    if let Some(port) = pairs.get("port")
        && !matches!(port.parse::<u16>(), Ok(1..))
    {
        faults.push("no port in port=; allowed: 1 to 65535".to_owned());
    }
    if pairs.get("user").is_none_or(str::is_empty) {
        faults.push(format!("no user=; allowed: {}", Conninfo::FORM));
    }
    match (purpose, pairs.get("dbname")) {
        (Purpose::Control, Some(dbname)) if dbname != "postgres" => {
            faults.push(format!(
                "dbname={dbname}; allowed: dbname=postgres, or none: control sessions begin there"
            ));
        }
        (Purpose::Replication, Some(_)) => {
            faults
                .push("a dbname=; allowed: none, each database is replicated by itself".to_owned());
        }
        (Purpose::Control | Purpose::Replication, _) => {}
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fault_repeats_a_value() {
        for text in [
            "host=a user=b password=my secret",
            "host=a user=b password='my secret",
            "my secret",
            "host=a,secret user=b port=secret",
            "postgres://b:secret@a/postgres",
        ] {
            let faults = faults(text, Purpose::Control);
            assert!(!faults.is_empty(), "{text}");
            assert!(!faults.join(" ").contains("secret"), "{faults:?}");
        }
    }

    #[test]
    fn each_purpose_has_its_rule_for_dbname() {
        let faulty =
            |dbname: &str, purpose| !faults(&format!("host=a user=b {dbname}"), purpose).is_empty();
        assert!(!faulty("", Purpose::Control));
        assert!(!faulty("dbname=postgres", Purpose::Control));
        assert!(faulty("dbname=orders", Purpose::Control));
        assert!(!faulty("", Purpose::Replication));
        assert!(faulty("dbname=postgres", Purpose::Replication));
    }
}
