//! Envoy's admin interface, on a Unix socket: it needs no port.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

/// The body of the answer to a GET.
pub(crate) async fn get(socket: &Path, path: &str) -> io::Result<String> {
    let answer = timeout(DEADLINE, exchange(socket, path)).await??;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| invalid(&answer))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(invalid(head));
    }
    if head.contains("transfer-encoding: chunked") {
        unchunked(body).ok_or_else(|| invalid(body))
    } else {
        Ok(body.to_owned())
    }
}

async fn exchange(socket: &Path, path: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// RFC 9112, section 7.1.
fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

fn invalid(answer: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, answer.to_owned())
}

const DEADLINE: Duration = Duration::from_secs(10);
