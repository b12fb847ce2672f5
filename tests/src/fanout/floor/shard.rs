//! One thread and its connections.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::Shared;
use crate::fanout::wire;

#[derive(Debug)]
pub(super) struct Shard {
    poll: Poll,
    shared: Arc<Shared>,
    handle: ShardHandle,
    arrivals: Receiver<TcpStream>,
    /// The shard that has the listener hands connections out in turns.
    accepting: Option<Accepting>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// The number of the last response that went out.
    sent: u64,
    /// How a stream is answered at first: headers, and all the window one can want.
    opening: Vec<u8>,
}

/// Hands connections to a shard and wakes it.
#[derive(Debug, Clone)]
pub(super) struct ShardHandle {
    pub(super) waker: Arc<Waker>,
    arrivals: Sender<TcpStream>,
}

#[derive(Debug)]
struct Accepting {
    listener: TcpListener,
    handles: Vec<ShardHandle>,
    next: usize,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    /// The preface is read.
    greeted: bool,
    subscribed: bool,
    partial: Vec<u8>,
}

impl Shard {
    pub(super) fn new(shared: Arc<Shared>) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (sender, arrivals) = mpsc::channel();
        let mut opening = Vec::new();
        wire::put_frame(&mut opening, wire::SETTINGS, 0, 0, &WIDE_WINDOW);
        wire::put_frame(&mut opening, wire::SETTINGS, wire::ACK, 0, &[]);
        wire::put_window_update(&mut opening, 0, (1 << 31) - 1 - wire::WINDOW);
        let headers = wire::response_headers();
        wire::put_frame(
            &mut opening,
            wire::HEADERS,
            wire::END_HEADERS,
            wire::STREAM,
            &headers,
        );
        Ok(Self {
            poll,
            shared,
            handle: ShardHandle {
                waker,
                arrivals: sender,
            },
            arrivals,
            accepting: None,
            connections: Vec::new(),
            free: Vec::new(),
            sent: 0,
            opening,
        })
    }

    pub(super) fn handle(&self) -> ShardHandle {
        self.handle.clone()
    }

    pub(super) fn accept(
        &mut self,
        mut listener: TcpListener,
        handles: Vec<ShardHandle>,
    ) -> anyhow::Result<()> {
        let registry = self.poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        self.accepting = Some(Accepting {
            listener,
            handles,
            next: 0,
        });
        Ok(())
    }

    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut input = vec![0; 64 << 10];
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                polled => polled?,
            }
            let mut acks = 0;
            for event in &events {
                match event.token() {
                    LISTENER => self.hand_out()?,
                    WAKE => self.take_arrivals()?,
                    Token(number) => acks += self.read(number, &mut input)?,
                }
            }
            if acks > 0 {
                self.shared.count(acks);
            }
        }
    }

    fn hand_out(&mut self) -> anyhow::Result<()> {
        let Some(Accepting {
            listener,
            handles,
            next,
        }) = &mut self.accepting
        else {
            return Ok(());
        };
        loop {
            match listener.accept() {
                Ok((socket, _)) => {
                    let handle = &handles[*next % handles.len()];
                    *next += 1;
                    handle.arrivals.send(socket).context("a thread has ended")?;
                    handle.waker.wake()?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accepting"),
            }
        }
    }

    fn take_arrivals(&mut self) -> anyhow::Result<()> {
        while let Ok(mut socket) = self.arrivals.try_recv() {
            socket.set_nodelay(true)?;
            let number = self.free.pop().unwrap_or(self.connections.len());
            if number == self.connections.len() {
                self.connections.push(None);
            }
            let registry = self.poll.registry();
            registry.register(&mut socket, Token(number), Interest::READABLE)?;
            self.connections[number] = Some(Connection {
                socket,
                greeted: false,
                subscribed: false,
                partial: Vec::new(),
            });
        }
        let (sequence, response) = self.shared.response();
        if sequence != self.sent {
            self.sent = sequence;
            for connection in self.connections.iter_mut().flatten() {
                if connection.subscribed {
                    connection.write(&response)?;
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, number: usize, input: &mut [u8]) -> anyhow::Result<u64> {
        let Some(Some(connection)) = self.connections.get_mut(number) else {
            return Ok(0);
        };
        let first = !connection.subscribed;
        let messages = connection.read(input)?;
        if first && messages > Some(0) {
            connection.subscribed = true;
            let mut out = self.opening.clone();
            let (_, response): (_, Bytes) = self.shared.response();
            out.extend_from_slice(&response);
            connection.write(&out)?;
            return Ok(0);
        }
        if messages.is_none() {
            self.connections[number] = None;
            self.free.push(number);
        }
        Ok(messages.unwrap_or_default())
    }
}

impl Connection {
    /// How many messages have come; `None` once the client has gone.
    fn read(&mut self, input: &mut [u8]) -> anyhow::Result<Option<u64>> {
        let mut messages = 0;
        loop {
            match self.socket.read(input) {
                Ok(0) => return Ok(None),
                Ok(length) => {
                    messages += self.take(&input[..length])?;
                    // A short read has emptied the socket.
                    if length < input.len() {
                        return Ok(Some(messages));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Some(messages)),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error).context("reading"),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<u64> {
        let joined;
        let mut rest = bytes;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.partial);
            rest = &joined;
        }
        if !self.greeted
            && let Some(frames) = rest.strip_prefix(wire::PREFACE)
        {
            self.greeted = true;
            rest = frames;
        }
        let mut messages = 0;
        while self.greeted
            && let Some((frame, length)) = wire::first_frame(rest)
        {
            match frame.kind {
                // A client of the benchmark puts one message into one frame.
                wire::DATA => messages += 1,
                wire::RST_STREAM | wire::GOAWAY => bail!("a client ended its stream"),
                _ => {}
            }
            rest = &rest[length..];
        }
        self.partial = rest.to_vec();
        Ok(messages)
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self.socket.write(bytes) {
            // Its ACKs come before the next response: what it does not read never adds up.
            Ok(length) => ensure!(length == bytes.len(), "a socket is full"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error).context("writing"),
        }
        Ok(())
    }
}

/// SETTINGS_INITIAL_WINDOW_SIZE, as large as it may be.
const WIDE_WINDOW: [u8; 6] = [0, 4, 0x7f, 0xff, 0xff, 0xff];
const WAKE: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);
