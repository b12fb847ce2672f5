//! libpq's connection service file.
//! <https://www.postgresql.org/docs/current/libpq-pgservice.html>

use pointsman_catalog::{Conninfo, Secret};

/// The parameters of section `[service]`.
///
/// # Errors
/// What is wrong, with its line and without a value.
pub(super) fn find(file: &Secret, service: &str) -> Result<Conninfo, String> {
    let mut inside = false;
    let mut found = None::<Conninfo>;
    for (number, line) in (1..).zip(file.reveal().lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            inside = section.strip_suffix(']') == Some(service);
            if inside {
                found = Some(Conninfo::default());
            }
            continue;
        }
        if !inside {
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {number} has no '='; allowed: keyword=value"))?;
        if ["service", "servicefile"].contains(&key) {
            return Err(format!(
                "line {number} names another service, which libpq refuses"
            ));
        }
        let one = Conninfo::from_iter([(key.to_owned(), value.to_owned())]);
        // As in libpq, the first of two counts.
        found = found.map(|found| found.or(one));
    }
    found.ok_or_else(|| format!("it has no section [{service}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# services\nhost=nowhere\n[green]\nhost=g\n\n[blue]\n  host=b  \nport=5433\nuser=u\n\
                        host=second\n#port=1\n[other]\nport=2\n";

    #[test]
    fn the_section_of_the_service_is_read_and_no_other() {
        let blue = find(&Secret::new(FILE), "blue").unwrap();
        assert_eq!(blue.render(), "host='b' port='5433' user='u'");
        let missing = find(&Secret::new(FILE), "red").unwrap_err();
        assert_eq!(missing, "it has no section [red]");
    }

    #[test]
    fn what_is_malformed_is_named_with_its_line_and_without_its_text() {
        let error = find(&Secret::new("[a]\nhost=b\nhunter2\n"), "a").unwrap_err();
        assert_eq!(error, "line 3 has no '='; allowed: keyword=value");
        assert!(find(&Secret::new("[a]\nservice=b\n"), "a").is_err());
    }
}
