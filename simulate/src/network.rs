//! What is on its way between an engine and a server.

use std::collections::BTreeSet;

use pointsman_catalog::ServerName;
use pointsman_cutover::{machine::Side, ports::ProviderError};
use tokio::sync::oneshot;

use crate::{
    aim::Said,
    world::{Shared, World},
};

/// The state of the ways.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Servers that no engine reaches.
    pub(crate) cut: BTreeSet<&'static str>,
    /// Connections to servers whose other end the engine has given up.
    pub(crate) given_up: BTreeSet<u64>,
    /// Whether the two servers do not reach each other.
    pub(crate) parted: bool,
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MessageFault {
    /// It does not arrive.
    LoseRequest,
    /// It is done, and nobody hears of it.
    LoseAnswer,
    /// It arrives so many microseconds late.
    Late(u64),
    /// It is refused with an error that says nothing.
    Refuse,
}

/// Which session a message is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To {
    pub(crate) side: Side,
    /// `None` opens one.
    pub(crate) pid: Option<u64>,
}

/// Tells the sender what came of a message.
type Tell = Box<dyn FnOnce() + Send>;
/// Does what a message says, or takes the error that it ends in.
type Deliver = Box<dyn FnOnce(&mut World, Option<ProviderError>) -> Tell + Send>;

pub(crate) fn name(side: Side) -> &'static str {
    match side {
        Side::Source => "blue",
        Side::Target => "green",
    }
}

pub(crate) fn unreachable(server: &ServerName, reason: impl Into<String>) -> ProviderError {
    ProviderError::Unreachable {
        server: server.clone(),
        reason: reason.into(),
    }
}

pub(crate) fn failed(server: &ServerName, what: &str, reason: impl Into<String>) -> ProviderError {
    ProviderError::Failed {
        server: server.clone(),
        what: what.to_owned(),
        reason: reason.into(),
    }
}

impl Shared {
    /// Sends a statement and waits for its answer. What was sent is done, also if nobody waits
    /// any more.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        to: To,
        what: &'static str,
        act: impl FnOnce(&mut World) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let (answer, answered) = oneshot::channel();
        let server = {
            let mut world = self.world();
            let deliver: Deliver = Box::new(move |world, refused| {
                let outcome = match refused {
                    Some(refused) => Err(refused),
                    None => act(world),
                };
                Box::new(move || {
                    // Nobody may wait any more.
                    let _ = answer.send(outcome);
                })
            });
            world.send(to, what, deliver);
            world.server(to.side).name.clone()
        };
        answered.await.unwrap_or_else(|_lost| {
            Err(unreachable(&server, format!("could not {what}: no answer")))
        })
    }
}

impl World {
    fn send(&mut self, to: To, what: &'static str, deliver: Deliver) {
        let fault = self.engine_acts(Some(Said {
            what,
            side: to.side,
        }));
        let mut way = self.some(60..300);
        if let Some(MessageFault::Late(more)) = fault {
            way += more;
        }
        self.note(|world| {
            let number = world.messages;
            format!("engine → {}: {what} (message {number})", name(to.side))
        });
        self.after(way, move |world| world.arrive(to, what, fault, deliver));
    }

    fn arrive(
        &mut self,
        to: To,
        what: &'static str,
        fault: Option<MessageFault>,
        deliver: Deliver,
    ) {
        let cut = self.network.cut.contains(name(to.side));
        if cut || fault == Some(MessageFault::LoseRequest) {
            return self.lose(to, Box::new(move || drop(deliver)));
        }
        let server = self.server(to.side);
        let gone =
            |pid| !server.backends.contains_key(&pid) || self.network.given_up.contains(&pid);
        if !server.up || to.pid.is_some_and(gone) {
            let after = self.some(60..300);
            self.after(after, move |world| {
                world.woken = true;
                drop(deliver);
            });
            return;
        }
        let refused = (fault == Some(MessageFault::Refuse))
            .then(|| failed(&server.name, what, "out of memory (53200)"));
        let tell = deliver(self, refused);
        let back = self.some(60..300);
        self.after(back, move |world| {
            let cut = world.network.cut.contains(name(to.side));
            if cut || fault == Some(MessageFault::LoseAnswer) {
                world.lose(to, Box::new(move || drop(tell)));
            } else {
                world.woken = true;
                tell();
            }
        });
    }

    /// Nothing is heard of a message. The sender gives its session up after a while, or is told
    /// that the connection was reset.
    fn lose(&mut self, to: To, forget: Tell) {
        let after = if self.chance(50) { 500 } else { STATEMENT };
        self.after(after, move |world| {
            if let Some(pid) = to.pid {
                world.give_up(to.side, pid);
            }
            world.woken = true;
            forget();
        });
    }

    /// The engine lets go of a connection; its server notices if it is reached.
    pub(crate) fn give_up(&mut self, side: Side, pid: u64) {
        self.network.given_up.insert(pid);
        let after = self.some(200..1500);
        self.after(after, move |world| {
            if !world.network.cut.contains(name(side)) {
                world.server_mut(side).end_backend(pid);
            }
        });
    }
}

/// A statement that is not answered for so long is given up.
const STATEMENT: u64 = 4_500_000;
