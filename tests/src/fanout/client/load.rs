//! The connections of a worker, and what is waited for.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use mio::{Registry, Token};

use super::connection::{Connection, Shared};
use super::reply::Reply;
use super::share::Share;
use crate::fanout::control::now;

#[derive(Debug)]
pub(super) struct Load {
    share: Share,
    /// The streams of all workers.
    streams: usize,
    registry: Registry,
    shared: Shared,
    slots: Vec<Slot>,
    /// Increases with the content.
    version: u32,
    /// Where connections still to be made begin, and where all of them go.
    next: usize,
    address: Option<SocketAddr>,
    /// Connections that were begun and have not subscribed, or not got anything.
    unready: usize,
    stuck: usize,
    waiting: Waiting,
}

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    /// The version of the content that it has.
    has: u32,
    reading: Reading,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reading {
    #[default]
    Yes,
    /// Not for now.
    Stalled,
    Never,
}

#[derive(Debug)]
enum Waiting {
    Nothing,
    /// Until every connection has its content.
    Synced {
        began: u64,
    },
    /// Until the first `counted` connections have the new content; when each got it.
    Round {
        counted: usize,
        at: Vec<u64>,
    },
    /// Until those that were stalled have the newest content.
    Resumed,
    /// Until those that never read have subscribed.
    Stuck,
}

impl Load {
    pub(super) fn new(share: Share, registry: Registry, shared: Shared) -> Self {
        Self {
            share,
            streams: 0,
            registry,
            shared,
            slots: Vec::new(),
            version: 0,
            next: 0,
            address: None,
            unready: 0,
            stuck: 0,
            waiting: Waiting::Nothing,
        }
    }

    pub(super) fn set_content(&mut self, content: Vec<u8>) {
        self.shared.content = content;
        self.version += 1;
    }

    pub(super) fn connect(&mut self, address: SocketAddr, count: usize) -> anyhow::Result<()> {
        self.address = Some(address);
        self.streams += count;
        self.slots
            .resize_with(self.share.of(self.streams), Slot::default);
        self.waiting = Waiting::Synced { began: now() };
        self.connect_some()
    }

    /// Drops every connection at once and makes all of them anew.
    pub(super) fn storm(&mut self) -> anyhow::Result<()> {
        ensure!(self.unready == 0, "there are connections in the making");
        let began = now();
        for slot in &mut self.slots {
            slot.connection.take().map_or(Ok(()), Connection::abort)?;
            slot.has = 0;
        }
        self.next = 0;
        self.waiting = Waiting::Synced { began };
        self.connect_some()
    }

    /// Connections that subscribe and then never read anything.
    pub(super) fn connect_stuck(
        &mut self,
        address: SocketAddr,
        count: usize,
    ) -> anyhow::Result<()> {
        self.address = Some(address);
        let never = || Slot {
            reading: Reading::Never,
            ..Slot::default()
        };
        let before = self.slots.len();
        self.streams += count;
        self.slots.resize_with(self.share.of(self.streams), never);
        self.stuck = self.slots.len() - before;
        self.waiting = Waiting::Stuck;
        self.connect_some()
    }

    pub(super) fn begin_round(&mut self, counted: usize) {
        let counted = self.share.of(counted);
        let at = Vec::with_capacity(counted);
        self.waiting = Waiting::Round { counted, at };
    }

    pub(super) fn stall(&mut self, from: usize) {
        for slot in self.slots.iter_mut().skip(self.share.of(from)) {
            slot.reading = Reading::Stalled;
            if let Some(connection) = &mut slot.connection {
                connection.fall_behind();
            }
        }
    }

    pub(super) fn resume(&mut self) -> anyhow::Result<()> {
        self.waiting = Waiting::Resumed;
        for place in 0..self.slots.len() {
            if self.slots[place].reading == Reading::Stalled {
                self.slots[place].reading = Reading::Yes;
                self.handle(place, false)?;
            }
        }
        Ok(())
    }

    /// Reads from a connection or writes to it.
    pub(super) fn handle(&mut self, place: usize, writable: bool) -> anyhow::Result<()> {
        let slot = self.slots.get_mut(place).context("an unknown connection")?;
        let Some(connection) = &mut slot.connection else {
            return Ok(());
        };
        let stream = || format!("stream {}", self.share.number(place));
        if writable && connection.write(&mut self.shared).with_context(stream)? {
            if slot.reading == Reading::Never {
                self.unready -= 1;
                self.stuck -= 1;
            }
            return Ok(());
        }
        if slot.reading != Reading::Yes {
            return Ok(());
        }
        // Before the ACK goes out: the server must not have it first.
        let arrived = now();
        if connection.read(&mut self.shared).with_context(stream)? == 0 {
            return Ok(());
        }
        if slot.has == 0 {
            self.unready -= 1;
        }
        let is_new = slot.has != self.version;
        slot.has = self.version;
        if let Waiting::Round { counted, at } = &mut self.waiting
            && is_new
            && place < *counted
        {
            at.push(arrived);
        }
        Ok(())
    }

    /// Opens more connections. Returns a reply once everything that is waited for has come.
    pub(super) fn reply(&mut self) -> anyhow::Result<Option<Reply>> {
        self.connect_some()?;
        let connected = self.next == self.slots.len();
        let reply = match &mut self.waiting {
            Waiting::Synced { began } if connected && self.unready == 0 => Reply::Synced {
                began: *began,
                ended: now(),
            },
            Waiting::Round { counted, at } if at.len() == *counted => {
                Reply::Received(std::mem::take(at))
            }
            Waiting::Resumed if all_have(&self.slots, self.version) => Reply::Resumed,
            Waiting::Stuck if connected && self.stuck == 0 => Reply::Stuck,
            Waiting::Nothing
            | Waiting::Synced { .. }
            | Waiting::Round { .. }
            | Waiting::Resumed
            | Waiting::Stuck => return Ok(None),
        };
        self.waiting = Waiting::Nothing;
        Ok(Some(reply))
    }

    fn connect_some(&mut self) -> anyhow::Result<()> {
        let Some(address) = self.address else {
            return Ok(());
        };
        while self.unready < AT_ONCE && self.next < self.slots.len() {
            let (token, number) = (Token(self.next), self.share.number(self.next));
            let connection =
                Connection::begin(&self.registry, &self.shared, token, number, address)?;
            self.slots[self.next].connection = Some(connection);
            self.next += 1;
            self.unready += 1;
        }
        Ok(())
    }
}

/// Whether all that read have this version of the content.
fn all_have(slots: &[Slot], version: u32) -> bool {
    let mut reading = slots.iter().filter(|slot| slot.reading == Reading::Yes);
    reading.all(|slot| slot.has == version)
}

/// Connections in the making: those of all workers are no more than a listener's backlog holds.
const AT_ONCE: usize = 500;
