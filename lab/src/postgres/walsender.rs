//! A session of the replication protocol that runs plain SQL, spoken byte by byte: client libraries do not offer it,
//! PostgreSQL does. <https://www.postgresql.org/docs/current/protocol-replication.html>

use std::{fmt, net::SocketAddr, path::Path};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::session::CONNECT_DEADLINE;

/// A walsender in a database; it ends on drop.
pub struct Walsender {
    stream: Box<dyn Stream>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl fmt::Debug for Walsender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walsender").finish_non_exhaustive()
    }
}

impl Walsender {
    /// Connects as `user` with `replication=database`.
    pub async fn connect(address: SocketAddr, user: &str, database: &str) -> Result<Self> {
        Self::on(TcpStream::connect(address).await?, user, database).await
    }

    /// The same through a Unix socket.
    pub(super) async fn on_socket(socket: &Path, user: &str, database: &str) -> Result<Self> {
        Self::on(UnixStream::connect(socket).await?, user, database).await
    }

    async fn on(mut stream: impl Stream + 'static, user: &str, database: &str) -> Result<Self> {
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for text in [
            "user",
            user,
            "database",
            database,
            "replication",
            "database",
            "",
        ] {
            body.extend(text.as_bytes());
            body.push(0);
        }
        let mut packet = i32::try_from(body.len() + 4)?.to_be_bytes().to_vec();
        packet.extend(body);
        stream.write_all(&packet).await?;
        let mut walsender = Self {
            stream: Box::new(stream),
        };
        walsender.until_ready().await?;
        Ok(walsender)
    }

    /// Runs one statement; an error of the server's is an error.
    pub async fn run(&mut self, sql: &str) -> Result<()> {
        self.query(sql).await.map(|_| ())
    }

    /// The same, and returns the first column of the first row.
    pub async fn query(&mut self, sql: &str) -> Result<Option<String>> {
        let mut packet = vec![b'Q'];
        packet.extend(i32::try_from(sql.len() + 5)?.to_be_bytes());
        packet.extend(sql.as_bytes());
        packet.push(0);
        self.stream.write_all(&packet).await?;
        self.until_ready().await
    }

    async fn until_ready(&mut self) -> Result<Option<String>> {
        timeout(CONNECT_DEADLINE, self.read_answer())
            .await
            .with_context(|| format!("no answer within {CONNECT_DEADLINE:?}"))?
    }

    async fn read_answer(&mut self) -> Result<Option<String>> {
        let (mut failure, mut first) = (None, None);
        loop {
            let kind = match self.stream.read_u8().await {
                Ok(kind) => kind,
                // A server that lets nobody in says why and ends the session.
                Err(ended) => bail!("{}the session ended: {ended}", failure.unwrap_or_default()),
            };
            let length = usize::try_from(self.stream.read_i32().await?)?.saturating_sub(4);
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await?;
            match kind {
                b'Z' => break,
                b'E' => failure = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
                b'D' => first = first.or_else(|| first_column(&body)),
                _ => {}
            }
        }
        match failure {
            Some(message) => bail!(message),
            None => Ok(first),
        }
    }
}

/// A `DataRow`: the number of columns, then the length and the text of each.
fn first_column(row: &[u8]) -> Option<String> {
    let (length, text) = row.get(2..)?.split_at_checked(4)?;
    let length = i32::from_be_bytes(length.try_into().ok()?);
    // A null has the length -1.
    let text = text.get(..usize::try_from(length).ok()?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}
