//! The head of a request, RFC 9113 section 8.

use bytes::Bytes;

/// The header section of a request.
#[derive(Debug, Default)]
pub struct Request {
    pub method: String,
    pub scheme: String,
    pub authority: String,
    pub path: String,
    /// The other fields, in order.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl Request {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let found = self.fields.iter().find(|field| field.0 == name)?;
        Some(&found.1)
    }
}

/// Collects the fields of a header section and checks that they form a request, or trailers.
#[derive(Debug, Default)]
pub(super) struct Builder {
    method: Option<String>,
    scheme: Option<String>,
    authority: Option<String>,
    path: Option<String>,
    fields: Vec<(Bytes, Bytes)>,
    content_length: Option<u64>,
    malformed: bool,
}

impl Builder {
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        let fits = if let Some(pseudo) = name.strip_prefix(b":") {
            self.pseudo(pseudo, value)
        } else {
            self.regular(name, value)
        };
        self.malformed |= fits.is_none();
    }

    /// Returns the request and the length of its body, if it says one. `None` if it is malformed.
    pub(super) fn request(self) -> Option<(Request, Option<u64>)> {
        if self.malformed {
            return None;
        }
        let request = Request {
            method: self.method?,
            scheme: self.scheme?,
            authority: self.authority.unwrap_or_default(),
            path: self.path?,
            fields: self.fields,
        };
        Some((request, self.content_length))
    }

    /// Whether the fields can be trailers.
    pub(super) fn is_trailers(&self) -> bool {
        let pseudo = [&self.method, &self.scheme, &self.authority, &self.path];
        !self.malformed && pseudo.iter().all(|field| field.is_none())
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let place = match name {
            b"method" => &mut self.method,
            b"scheme" => &mut self.scheme,
            b"authority" => &mut self.authority,
            b"path" => &mut self.path,
            _ => return None,
        };
        let value = String::from_utf8(value.to_vec()).ok()?;
        let empty = value.is_empty() && name != b"authority";
        let first = self.fields.is_empty() && place.replace(value).is_none();
        (first && !empty).then_some(())
    }

    fn regular(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let token = |byte: &u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        let text = |byte: &u8| !matches!(byte, b'\0' | b'\r' | b'\n');
        let valid = !name.is_empty() && name.iter().all(token) && value.iter().all(text);
        match name {
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding"
            | b"upgrade" => return None,
            b"te" if value != b"trailers" => return None,
            b"content-length" => {
                let length = std::str::from_utf8(value).ok()?.parse().ok()?;
                if self.content_length.replace(length).is_some() {
                    return None;
                }
            }
            _ => {}
        }
        let field = (Bytes::copy_from_slice(name), Bytes::copy_from_slice(value));
        self.fields.push(field);
        valid.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(fields: &[(&str, &str)]) -> Option<(Request, Option<u64>)> {
        let mut builder = Builder::default();
        for (name, value) in fields {
            builder.field(name.as_bytes(), value.as_bytes());
        }
        builder.request()
    }

    const POST: [(&str, &str); 4] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/a/B"),
        (":authority", "there"),
    ];

    #[test]
    fn a_whole_head_is_a_request() {
        let fields = [&POST[..], &[("te", "trailers"), ("content-length", "7")]].concat();
        let (request, length) = built(&fields).unwrap();
        assert_eq!((&*request.method, &*request.path), ("POST", "/a/B"));
        assert_eq!(request.field("te"), Some(&b"trailers"[..]));
        assert_eq!(length, Some(7));
    }

    /// RFC 9113, 8.2 and 8.3.
    #[test]
    fn a_malformed_head_is_none() {
        for extra in [
            (":method", "GET"),
            (":status", "200"),
            ("Te", "trailers"),
            ("te", "gzip"),
            ("connection", "close"),
            ("content-length", "a"),
            ("", "a"),
            ("a b", "a"),
            ("a", "a\r\nb"),
        ] {
            assert!(
                built(&[&POST[..], &[extra]].concat()).is_none(),
                "{extra:?}"
            );
        }
        assert!(built(&POST[..2]).is_none());
        assert!(built(&[&[("te", "trailers")], &POST[..]].concat()).is_none());
        assert!(built(&[&POST[..2], &[(":path", "")]].concat()).is_none());
    }

    #[test]
    fn trailers_have_no_pseudo_fields() {
        let trailers = |name: &str| {
            let mut builder = Builder::default();
            builder.field(name.as_bytes(), b"0");
            builder.is_trailers()
        };
        assert!(trailers("grpc-status"));
        assert!(!trailers(":path"));
    }
}
