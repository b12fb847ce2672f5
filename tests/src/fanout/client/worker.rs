//! A thread with its share of the connections.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;

use anyhow::Context;
use mio::{Events, Poll, Token, Waker};
use rustls::ClientConfig;

use super::ReplySender;
use super::connection::Shared;
use super::load::Load;
use super::reply::Reply;
use super::share::Share;
use crate::fanout::control::from_hex;

#[derive(Debug)]
pub(super) struct Worker {
    commands: Sender<String>,
    waker: Waker,
}

impl Worker {
    /// Starts a thread that works until the worker is dropped or something fails.
    pub(super) fn start(
        share: Share,
        tls: Option<Arc<ClientConfig>>,
        replies: ReplySender,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), COMMANDS)?;
        let load = Load::new(share, poll.registry().try_clone()?, Shared::new(tls));
        let (commands, heard) = mpsc::channel();
        thread::spawn(move || {
            if let Err(error) = serve(poll, load, &heard, &replies) {
                // Nobody listens any more: then the run is over in any case.
                replies.send(Err(error)).ok();
            }
        });
        Ok(Self { commands, waker })
    }

    pub(super) fn tell(&self, line: &str) -> anyhow::Result<()> {
        // If it has ended, its last reply says why.
        self.commands.send(line.to_owned()).ok();
        Ok(self.waker.wake()?)
    }
}

fn serve(
    mut poll: Poll,
    mut load: Load,
    commands: &Receiver<String>,
    replies: &ReplySender,
) -> anyhow::Result<()> {
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled?,
        }
        for event in &events {
            if event.token() == COMMANDS {
                continue;
            }
            load.handle(event.token().0, event.is_writable())?;
        }
        // After the events: a command never finds old ones of connections that it drops.
        loop {
            match commands.try_recv() {
                Ok(line) => {
                    let reply = obey(&mut load, &line).with_context(|| line.clone())?;
                    reply.map_or(Ok(()), |reply| replies.send(Ok(reply)))?;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        load.reply()?
            .map_or(Ok(()), |reply| replies.send(Ok(reply)))?;
    }
}

fn obey(load: &mut Load, line: &str) -> anyhow::Result<Option<Reply>> {
    let command: Vec<_> = line.split(' ').collect();
    match *command {
        ["connect", address, count, content] => {
            load.set_content(from_hex(content)?);
            load.connect(address.parse::<SocketAddr>()?, count.parse()?)?;
        }
        ["round", content, counted] => {
            load.set_content(from_hex(content)?);
            load.begin_round(counted.parse()?);
            return Ok(Some(Reply::Ready));
        }
        ["storm"] => load.storm()?,
        ["stall", from] => {
            load.stall(from.parse()?);
            return Ok(Some(Reply::Stalled));
        }
        ["resume"] => load.resume()?,
        ["stuck", address, count] => load.connect_stuck(address.parse()?, count.parse()?)?,
        _ => anyhow::bail!("not a command"),
    }
    Ok(None)
}

const COMMANDS: Token = Token(usize::MAX);
