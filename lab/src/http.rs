//! HTTP/1.1 as far as tests need it: one request over one connection.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status line and the headers.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The status code, as text.
    #[must_use]
    pub fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// A GET for `path` at `host`.
pub async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Answer> {
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n")?;
    }
    request.push_str("\r\n");
    exchange(stream, &request).await
}

/// A POST of JSON to `path` at `host`.
pub async fn post(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
    json: &str,
) -> Result<Answer> {
    let length = json.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{json}"
    );
    exchange(stream, &request).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> Result<Answer> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    parsed(&answer).with_context(|| format!("not an HTTP answer: {answer:?}"))
}

fn parsed(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunked(body)?
    } else {
        body.to_owned()
    };
    let head = head.to_owned();
    Some(Answer { head, body })
}

/// RFC 9112, section 7.1.
fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_answer_is_put_together() {
        let body = "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(unchunked(body).as_deref(), Some("abc0123456789"));
    }

    #[test]
    fn a_torn_answer_is_none() {
        assert_eq!(unchunked("5\r\nabc"), None);
    }
}
