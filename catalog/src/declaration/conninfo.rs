//! Checks a control or replication string without a server.

use crate::{
    ConnectionSpec,
    conninfo::{Conninfo, Purpose, refused},
};

/// All faults of `text`.
pub(super) fn faults(text: &str, purpose: Purpose) -> Vec<String> {
    if Conninfo::cuts_credentials(text) {
        return vec![
            "an '@' behind the first '/' of a URI; allowed: %2F for a '/' and %40 for an '@' in the \
             role, the password or a parameter"
                .to_owned(),
        ];
    }
    let info = match Conninfo::parse(text) {
        Ok(info) => info,
        Err(message) => return vec![message],
    };
    let mut faults = refused(info.keywords(), purpose);
    match purpose {
        Purpose::Control => faults.extend(of_control(&info)),
        Purpose::Replication => faults.extend(of_replication(&info)),
    }
    faults
}

/// The keywords of `control` that only this machine can follow, so that the other server of a
/// migration cannot connect by the same string.
pub(super) fn local_only(text: &str) -> Vec<&'static str> {
    let Ok(info) = Conninfo::parse(text) else {
        return Vec::new();
    };
    let local = |key: &&str| match (*key, info.get(key)) {
        (_, None) => false,
        ("sslrootcert", Some(roots)) => roots != "system",
        (_, Some(_)) => true,
    };
    ["service", "sslrootcert", "sslcert", "sslkey"]
        .into_iter()
        .filter(local)
        .collect()
}

fn of_control(info: &Conninfo) -> Vec<String> {
    let mut faults = match ConnectionSpec::read(info) {
        Ok(_spec) => Vec::new(),
        Err(faults) => faults,
    };
    match (info.get("service"), info.get("servicefile")) {
        // A service file may give what is missing here.
        (Some(_), Some(file)) if file.starts_with('/') => {}
        (None, None) => faults.extend(place_and_role(info)),
        _ => faults.push(
            "service= and servicefile= go together; allowed: service=NAME servicefile=/PATH, since \
             neither PGSERVICEFILE nor a home folder is looked at"
                .to_owned(),
        ),
    }
    if info
        .get("dbname")
        .is_some_and(|dbname| dbname != "postgres")
    {
        faults.push(
            "another dbname= than postgres; allowed: dbname=postgres, or none: control sessions begin there"
                .to_owned(),
        );
    }
    faults
}

/// The other server's libpq judges the rest.
fn of_replication(info: &Conninfo) -> Vec<String> {
    let mut faults = place_and_role(info);
    if info.get("dbname").is_some() {
        faults.push("a dbname=; allowed: none, each database is replicated by itself".to_owned());
    }
    if info.get("sslrootcert") == Some("amazon-rds") {
        faults.push(
            "sslrootcert=amazon-rds, which libpq does not know; allowed: a file on the server that \
             subscribes, or system"
                .to_owned(),
        );
    }
    faults
}

fn place_and_role(info: &Conninfo) -> Vec<String> {
    let missing = |key: &str| info.get(key).is_none_or(str::is_empty);
    let mut faults = Vec::new();
    if missing("host") && missing("hostaddr") {
        faults.push(format!("no host=; allowed: {}", Conninfo::FORM));
    }
    if missing("user") {
        faults.push(format!("no user=; allowed: {}", Conninfo::FORM));
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
            "host=a user=b password=my secret=word",
            "my secret",
            "host=a,secret user=b port=secret",
            "postgres://b:secret@a/postgres",
            "postgres://b:a@secret@a/postgres",
            "postgres://b:a/secret@a/postgres",
            "postgres://b:secret/x@a/postgres",
            "postgres://b:a/x?secret=1@a/postgres",
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

    #[test]
    fn what_people_write_is_taken() {
        for text in [
            "postgresql://pointsman@db.example:5432/postgres?sslmode=verify-full&sslrootcert=/ca.pem",
            "postgres://pointsman@[2001:db8::1]/",
            "host=a,b port=5432,5433 user=u passfile=/etc/pointsman/pgpass",
            "service=blue servicefile=/etc/pointsman/pg_service.conf",
            "host=/var/run/postgresql user=postgres",
            "host=x.rds.amazonaws.com user=u sslmode=verify-full sslrootcert=amazon-rds",
            "host=a user=b sslmode=require channel_binding=require sslcert=/c sslkey=/k",
        ] {
            assert_eq!(faults(text, Purpose::Control), [""; 0], "{text}");
        }
    }

    #[test]
    fn files_of_the_other_server_are_not_judged() {
        let text = "host=a user=b sslmode=verify-full sslrootcert=root.crt sslcrl=/crl \
                    target_session_attrs=primary";
        assert_eq!(faults(text, Purpose::Replication), [""; 0]);
    }

    #[test]
    fn a_service_file_is_not_looked_for() {
        assert_eq!(faults("service=blue", Purpose::Control).len(), 1);
    }

    #[test]
    fn a_control_string_with_files_is_this_machines_alone() {
        assert_eq!(local_only("host=a user=b sslrootcert=system"), [""; 0]);
        assert_eq!(
            local_only("host=a user=b sslrootcert=/ca.pem sslcert=/c sslkey=/k"),
            ["sslrootcert", "sslcert", "sslkey"]
        );
    }
}
