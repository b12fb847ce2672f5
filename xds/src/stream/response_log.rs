use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Acknowledged, Nack, Sent, in_flight::InFlight};
use crate::{nonce::Nonce, published::PublishedSnapshot, resource::ResourceType};

/// The last responses of one type, and the client's answers to them.
#[derive(Debug, Default)]
pub(super) struct ResponseLog {
    in_flight: Option<InFlight>,
    sent: Option<Sent>,
    /// How many responses of the same sequence came before the last one.
    repeat: u32,
    acknowledged: Option<Acknowledged>,
    nacked: Option<Arc<Nack>>,
}

/// How far a type has been sent. Later steps of the order wait for it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Progress {
    Done,
    /// Everything is sent, and not acknowledged yet.
    Sent,
    /// Something is still to be sent.
    Unsent,
}

impl ResponseLog {
    /// Records a response that is made from `published` and sent now. Returns its nonce.
    pub(super) fn send(
        &mut self,
        content: InFlight,
        published: &PublishedSnapshot,
        instance: &Arc<str>,
        now: Instant,
    ) -> Arc<str> {
        let sequence = published.sequence;
        let former = self.sent.as_ref().map(|sent| sent.sequence);
        self.repeat = if former == Some(sequence) {
            self.repeat + 1
        } else {
            0
        };
        self.sent = Some(Sent { sequence, at: now });
        self.in_flight = Some(content);
        published.nonce(instance, self.repeat)
    }

    /// The response in flight, if an answer with this nonce is about it. It is in flight no longer.
    pub(super) fn take_answered(&mut self, nonce: &str, instance: &str) -> Option<InFlight> {
        if self.is_latest(nonce, instance) {
            self.in_flight.take()
        } else {
            None
        }
    }

    pub(super) fn acknowledge(&mut self, in_flight: &InFlight, now: Instant) {
        self.acknowledged = self.sent.as_ref().map(|sent| Acknowledged {
            version: in_flight.version,
            sequence: sent.sequence,
            at: now,
            after: now.saturating_duration_since(sent.at),
        });
    }

    /// `names` are those of the response's resources and removals.
    pub(super) fn nack<'a>(
        &mut self,
        kind: ResourceType,
        message: &Arc<str>,
        names: impl ExactSizeIterator<Item = &'a Arc<str>>,
        now: Instant,
    ) {
        if let Some(sent) = &self.sent {
            let nack = Nack::new(kind, sent.sequence, now, message, names);
            self.nacked = Some(Arc::new(nack));
        }
    }

    /// Something else must be sent after the response in flight.
    pub(super) fn mark_incomplete(&mut self) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.incomplete = true;
        }
    }

    /// An ACK of the response in flight will not count for `name`.
    pub(super) fn void(&mut self, name: &Arc<str>) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.voided.insert(Arc::clone(name));
        }
    }

    /// Marks the response in flight as overdue if it is. Returns whether it was not before.
    pub(super) fn note_overdue(&mut self, limit: Duration, now: Instant) -> bool {
        let overdue = self.answer_due(limit).is_some_and(|due| due <= now);
        if overdue && let Some(in_flight) = &mut self.in_flight {
            in_flight.overdue = true;
        }
        overdue
    }

    pub(super) fn in_flight(&self) -> Option<&InFlight> {
        self.in_flight.as_ref()
    }

    pub(super) fn sent(&self) -> Option<&Sent> {
        self.sent.as_ref()
    }

    pub(super) fn acknowledged(&self) -> Option<&Acknowledged> {
        self.acknowledged.as_ref()
    }

    pub(super) fn nacked(&self) -> Option<&Arc<Nack>> {
        self.nacked.as_ref()
    }

    /// Whether `nonce` is that of the last response. Before the first response, an empty one is.
    pub(super) fn is_latest(&self, nonce: &str, instance: &str) -> bool {
        match self.latest_nonce() {
            Some(latest) => Nonce::parse(nonce, instance) == Some(latest),
            None => nonce.is_empty(),
        }
    }

    /// The nonce of the last response.
    pub(super) fn latest_nonce(&self) -> Option<Nonce> {
        let sequence = self.sent.as_ref()?.sequence;
        let repeat = self.repeat;
        Some(Nonce { sequence, repeat })
    }

    pub(super) fn progress(&self) -> Progress {
        match &self.in_flight {
            Some(in_flight) if !in_flight.incomplete => Progress::Sent,
            Some(_) | None => Progress::Unsent,
        }
    }

    /// When the response in flight becomes overdue, unless it is.
    pub(super) fn answer_due(&self, limit: Duration) -> Option<Instant> {
        let in_flight = self.in_flight.as_ref()?;
        let sent = self.sent.as_ref()?;
        (!in_flight.overdue).then(|| sent.at + limit)
    }
}
