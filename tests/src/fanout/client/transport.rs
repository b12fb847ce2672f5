//! A socket, in plain text or with TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::fanout::certificates::HOST;

#[derive(Debug)]
pub(super) struct Transport {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Transport {
    /// Begins to connect.
    pub(super) fn begin(
        registry: &Registry,
        token: Token,
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut socket, token, interest)?;
        let session = |config: &Arc<_>| -> anyhow::Result<_> {
            let name = ServerName::try_from(HOST)?;
            Ok(Box::new(ClientConnection::new(Arc::clone(config), name)?))
        };
        Ok(Self {
            socket,
            tls: tls.map(session).transpose()?,
        })
    }

    /// Whether a read of `length` bytes into room for more has emptied it.
    pub(super) fn is_empty_after(&self, length: usize, room: usize) -> bool {
        self.tls.is_none() && length < room
    }

    /// Sends what TLS has to send, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(session) => flush(session, &mut self.socket),
            None => Ok(()),
        }
    }

    /// Takes everything while TLS has room for it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else {
            return self.socket.write(bytes);
        };
        let written = session.writer().write(bytes)?;
        self.flush()?;
        Ok(written)
    }

    pub(super) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else {
            return self.socket.read(bytes);
        };
        loop {
            match session.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            let processed = session.process_new_packets();
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            // The handshake answers what it reads.
            flush(session, &mut self.socket)?;
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn flush(session: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while session.wants_write() {
        match session.write_tls(socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            written => written?,
        };
    }
    Ok(())
}
