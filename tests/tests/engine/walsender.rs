//! A logical-replication session that runs plain SQL, spoken byte by byte: client
//! libraries do not offer it, PostgreSQL does.
//! <https://www.postgresql.org/docs/current/protocol-replication.html>

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) struct Walsender {
    stream: TcpStream,
}

impl Walsender {
    /// Connects as `user` with `replication=database`.
    pub(crate) async fn connect(address: SocketAddr, user: &str, database: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
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
        let mut walsender = Self { stream };
        walsender.until_ready().await?;
        Ok(walsender)
    }

    /// Runs one statement; an error of the server's is an error.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<()> {
        let mut packet = vec![b'Q'];
        packet.extend(i32::try_from(sql.len() + 5)?.to_be_bytes());
        packet.extend(sql.as_bytes());
        packet.push(0);
        self.stream.write_all(&packet).await?;
        self.until_ready().await
    }

    async fn until_ready(&mut self) -> Result<()> {
        let mut failure = None;
        loop {
            let kind = self.stream.read_u8().await.context("the session ended")?;
            let length = usize::try_from(self.stream.read_i32().await?)?.saturating_sub(4);
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await?;
            match kind {
                b'Z' => break,
                b'E' => failure = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
                _ => {}
            }
        }
        match failure {
            Some(words) => bail!(words),
            None => Ok(()),
        }
    }
}
