//! Envoy's admin interface, on a Unix socket: it needs no port.

use std::{io, path::Path, time::Duration};

use tokio::{net::UnixStream, time::timeout};

use crate::http;

/// The body of the answer to a GET.
pub(crate) async fn get(socket: &Path, path: &str) -> io::Result<String> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await?;
        http::get(stream, "admin", path, &[]).await
    };
    let answer = timeout(DEADLINE, exchange).await??;
    if answer.head.starts_with("HTTP/1.1 200") {
        Ok(answer.body)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, answer.head))
    }
}

const DEADLINE: Duration = Duration::from_secs(10);
