//! Connection URIs, cut as libpq cuts them.
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>

/// What follows the scheme of a connection URI; `None` for a text that is none.
pub(super) fn after_scheme(text: &str) -> Option<&str> {
    let schemes = ["postgresql://", "postgres://"];
    schemes.iter().find_map(|scheme| text.strip_prefix(scheme))
}

/// Whether an '@' stands behind the '/' that ends the places: the one that was meant to end the
/// credentials.
pub(super) fn cuts_credentials(uri: &str) -> bool {
    uri.find(['@', '/'])
        .is_some_and(|at| uri[at..].starts_with('/') && uri[at..].contains('@'))
}

/// The pairs that the URI stands for, as libpq's keywords.
///
/// # Errors
/// What is wrong, in a message that shows no value.
pub(super) fn parse(uri: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut add = |key: &str, value: &str| {
        let value = decode(value).ok_or_else(|| bad_escape(key))?;
        if !value.is_empty() {
            pairs.push((key.to_owned(), value));
        }
        Ok::<_, String>(())
    };
    // As in libpq, the first '@' before a '/' ends the credentials.
    let rest = match uri.find(['@', '/']) {
        Some(at) if uri[at..].starts_with('@') => {
            let (user, password) = cut(&uri[..at], ":");
            add("user", user)?;
            add("password", password.unwrap_or_default())?;
            &uri[at + 1..]
        }
        _ => uri,
    };
    let (places, mut rest) = places(rest)?;
    let hosts: Vec<_> = places.iter().map(|place| place.host).collect();
    let ports: Vec<_> = places.iter().map(|place| place.port).collect();
    if hosts.iter().any(|host| host.contains('@')) {
        return Err("an '@' in the host; allowed: %40 for an '@' in the role or password".into());
    }
    add("host", &hosts.join(","))?;
    add("port", &ports.join(","))?;
    if let Some(path) = rest.strip_prefix('/') {
        let at = path.find('?').unwrap_or(path.len());
        add("dbname", &path[..at])?;
        rest = &path[at..];
    }
    let Some(parameters) = rest.strip_prefix('?') else {
        return Ok(pairs);
    };
    let parameters = parameters.strip_suffix('&').unwrap_or(parameters);
    if !parameters.is_empty() {
        for parameter in parameters.split('&') {
            pairs.push(one_parameter(parameter)?);
        }
    }
    Ok(pairs)
}

/// One host of a URI, and its port; each may be empty.
struct Place<'a> {
    host: &'a str,
    port: &'a str,
}

/// The hosts in front, and what is left: empty, or from '/' or '?' on.
fn places(mut rest: &str) -> Result<(Vec<Place<'_>>, &str), String> {
    let mut places = Vec::new();
    loop {
        let (host, after) = match rest.strip_prefix('[') {
            Some(inside) => {
                let (host, after) = cut(inside, "]");
                let after = after.ok_or("no ']' after an IPv6 address")?;
                if host.is_empty() {
                    return Err("no IPv6 address between '[' and ']'".into());
                }
                if !after.is_empty() && !after.starts_with([':', '/', '?', ',']) {
                    return Err(
                        "something between ']' and the port; allowed: [ADDRESS]:PORT".into(),
                    );
                }
                (host, after)
            }
            None => rest.split_at(rest.find([':', '/', '?', ',']).unwrap_or(rest.len())),
        };
        let (port, after) = match after.strip_prefix(':') {
            Some(port) => port.split_at(port.find(['/', '?', ',']).unwrap_or(port.len())),
            None => ("", after),
        };
        places.push(Place { host, port });
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok((places, after)),
        }
    }
}

fn one_parameter(text: &str) -> Result<(String, String), String> {
    let (key, value) = cut(text, "=");
    let decoded = decode(key).ok_or("a malformed '%' in the name of a parameter")?;
    let value = value.ok_or("a parameter without '='; allowed: NAME=VALUE&…")?;
    if value.contains('=') {
        return Err("a second '=' in one parameter; allowed: %3D for a '=' in a value".into());
    }
    let value = decode(value).ok_or_else(|| bad_escape("a parameter"))?;
    // JDBC's spelling, which libpq takes as well.
    Ok(if decoded == "ssl" && value == "true" {
        ("sslmode".to_owned(), "require".to_owned())
    } else {
        (decoded, value)
    })
}

fn cut<'a>(text: &'a str, at: &str) -> (&'a str, Option<&'a str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn bad_escape(of: &str) -> String {
    format!("a malformed '%' in {of}; allowed: %XX with two hexadecimal digits, and not %00")
}

/// `None` for an escape that is malformed, that is zero, or that makes no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let digits = part.get(..2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte == 0 {
            return None;
        }
        bytes.push(byte);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(uri: &str) -> String {
        let pairs = parse(after_scheme(uri).unwrap()).unwrap();
        let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_uri_is_cut_as_libpq_cuts_it() {
        for (uri, pairs) in [
            ("postgresql://", ""),
            ("postgres://db", "host=db"),
            (
                "postgresql://o%40c:p%2Fw@db:1/app",
                "user=o@c password=p/w host=db port=1 dbname=app",
            ),
            ("postgresql://u@/app", "user=u dbname=app"),
            (
                "postgresql://[2001:db8::1]:5433/x",
                "host=2001:db8::1 port=5433 dbname=x",
            ),
            ("postgresql://a:1,b,[::1]:3/", "host=a,b,::1 port=1,,3"),
            ("postgresql://%2Fvar%2Frun/app", "host=/var/run dbname=app"),
            (
                "postgresql://db?sslmode=verify-full&sslrootcert=%2Fca",
                "host=db sslmode=verify-full sslrootcert=/ca",
            ),
            ("postgresql:///?host=db&ssl=true", "host=db sslmode=require"),
        ] {
            assert_eq!(rendered(uri), pairs, "{uri}");
        }
    }

    #[test]
    fn what_is_malformed_is_said_without_a_value() {
        for uri in [
            "u:secret@secret@db/x",
            "u:secre%7@db",
            "u:secre%zz@db",
            "u:secret%00@db",
            "[secret",
            "[::1]secret",
            "db?secret",
            "db?a=b=secret",
        ] {
            let message = parse(uri).unwrap_err();
            assert!(!message.contains("secre"), "{message}");
        }
    }
}
