//! A session of the replication protocol that runs plain SQL, spoken byte by byte: client libraries do not offer it,
//! PostgreSQL does. <https://www.postgresql.org/docs/current/protocol-replication.html>

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::server::CONNECT_DEADLINE;

/// A walsender in a database; it ends on drop.
#[derive(Debug)]
pub struct Walsender {
    stream: TcpStream,
}

impl Walsender {
    /// Connects as `user` with `replication=database`.
    pub async fn connect(address: SocketAddr, user: &str, database: &str) -> Result<Self> {
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
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&packet).await?;
        let mut walsender = Self { stream };
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
            let kind = self.stream.read_u8().await.context("the session ended")?;
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
