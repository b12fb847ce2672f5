//! The load: thousands of delta ADS streams, each on its own connection, on one thread.
//!
//! Every response is looked into, must bring the newest content, and is acknowledged at once.
//! The process is led by lines:
//!
//! ```text
//! connect ADDRESS COUNT CONTENT   opens streams        synced BEGAN ENDED
//! round CONTENT COUNTED           awaits new content   ready, then received MEDIAN P99 LAST
//! storm                           drops and reopens    synced BEGAN ENDED
//! stall FROM                      stops reading        stalled
//! resume                          reads again          resumed
//! stuck ADDRESS COUNT             never reads          stuck
//! ```
//!
//! Times are nanoseconds of the machine's monotonic clock.

mod connection;
mod load;
mod transport;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, TryRecvError};

use anyhow::Context;
use mio::{Events, Poll, Token, Waker};

use self::connection::Shared;
use self::load::Load;
use super::certificates;
use super::control::{answer, from_hex, listen, open_many_files};

/// Runs the load until the standard input ends; over mutual TLS, if there is a folder with
/// certificates.
///
/// # Errors
/// A stream broke or brought something wrong: said in words on the standard output too.
pub fn run(certificates: Option<&Path>) -> anyhow::Result<()> {
    open_many_files()?;
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), COMMANDS)?;
    let (sender, commands) = mpsc::channel();
    listen(move |line| sender.send(line).is_ok() && waker.wake().is_ok());
    let tls = certificates.map(certificates::client).transpose()?;
    let load = Load::new(poll.registry().try_clone()?, Shared::new(tls));
    let ended = serve(poll, load, &commands);
    if let Err(error) = &ended {
        answer(&format!("broken {error:#}"))?;
    }
    ended
}

fn serve(mut poll: Poll, mut load: Load, commands: &Receiver<String>) -> anyhow::Result<()> {
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
                Ok(line) => obey(&mut load, &line).with_context(|| line.clone())?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        load.tell()?;
    }
}

fn obey(load: &mut Load, line: &str) -> anyhow::Result<()> {
    let words: Vec<_> = line.split(' ').collect();
    match *words {
        ["connect", address, count, content] => {
            load.set_content(from_hex(content)?);
            load.connect(address.parse::<SocketAddr>()?, count.parse()?)
        }
        ["round", content, counted] => {
            load.set_content(from_hex(content)?);
            load.begin_round(counted.parse()?);
            answer("ready")
        }
        ["storm"] => load.storm(),
        ["stall", from] => {
            load.stall(from.parse()?);
            answer("stalled")
        }
        ["resume"] => load.resume(),
        ["stuck", address, count] => load.connect_stuck(address.parse()?, count.parse()?),
        _ => anyhow::bail!("not a command"),
    }
}

const COMMANDS: Token = Token(usize::MAX);
