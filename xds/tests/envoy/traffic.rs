//! What runs through Envoy: backends that say their names and echo, sessions with them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use pointsman_lab::{
    patience::{DEADLINE, until},
    ports::free_port,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Says its name, one byte, to every connection and echoes what comes.
pub(crate) struct Backend {
    pub(crate) name: char,
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Backend {
    pub(crate) async fn start(name: char) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()));
        let listener = listener.await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                // A client that is gone needs no answer.
                connections.spawn(async move { echo(name, connection).await.ok() });
            }
        });
        Self {
            name,
            address,
            _accepting: accepting,
        }
    }

    pub(crate) fn port(&self) -> u32 {
        self.address.port().into()
    }
}

async fn echo(name: char, mut connection: TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = connection.split();
    writer.write_all(&[name as u8]).await?;
    copy(&mut reader, &mut writer).await?;
    Ok(())
}

/// One connection through Envoy to a backend.
#[derive(Debug)]
pub(crate) struct Session {
    /// The backend's name.
    pub(crate) backend: char,
    stream: TcpStream,
}

impl Session {
    pub(crate) async fn open(port: u16) -> io::Result<Self> {
        let opened = timeout(DEADLINE, async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            let backend = char::from(stream.read_u8().await?);
            Ok(Self { backend, stream })
        });
        opened.await?
    }

    /// There and back.
    pub(crate) async fn echo(&mut self) -> io::Result<()> {
        const WORD: [u8; 8] = *b"are you?";
        let answered = timeout(DEADLINE, async {
            self.stream.write_all(&WORD).await?;
            let mut answer = [0; WORD.len()];
            self.stream.read_exact(&mut answer).await?;
            assert_eq!(answer, WORD);
            Ok(())
        });
        answered.await?
    }

    /// Waits until the other side ends it.
    pub(crate) async fn ended(mut self) {
        let end = timeout(DEADLINE, self.stream.read_u8()).await;
        assert!(end.expect("the connection stays open").is_err());
    }
}

/// Waits until this backend is behind a port: Envoy acknowledges what its workers begin to use
/// a little later.
pub(crate) async fn answers(port: u16, backend: &Backend) {
    until("the backend", async || {
        let session = Session::open(port).await.ok()?;
        (session.backend == backend.name).then_some(())
    })
    .await;
}

/// Waits until nobody listens at a port.
pub(crate) async fn refused(port: u16) {
    until("the refusal", async || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.err()
    })
    .await;
}
