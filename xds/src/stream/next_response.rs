use super::{
    Transport,
    client_state::ClientState,
    difference::{Difference, Selection},
    order::Phase,
    outgoing::{Outgoing, Taken},
    retry_queue::RetryQueue,
    sotw_full_state::{FullStateDifference, FullStates},
};
use crate::resource::{Resource, ResourceType, Version, version_of};

/// Selects the content of the next response of one type.
#[derive(Debug, Default)]
pub(super) struct NextResponse {
    /// A response must be sent even if it is empty.
    answer_owed: bool,
    retry_queue: Option<Box<RetryQueue>>,
    full_states: FullStates,
}

impl NextResponse {
    pub(super) fn owe_answer(&mut self) {
        self.answer_owed = true;
    }

    /// Something has changed: the NACKed names are collected anew.
    pub(super) fn reset_retries(&mut self) {
        self.retry_queue = None;
    }

    /// Enters the version that the client claims to have, in a state-of-the-world request.
    pub(super) fn claim(&mut self, version: &str) {
        self.full_states.claim(version);
    }

    pub(super) fn sent(&mut self) {
        self.answer_owed = false;
    }

    pub(super) fn acknowledged(&mut self) {
        self.full_states.acknowledge();
    }

    /// The client has NACKed a full state of this version.
    pub(super) fn full_state_nacked(&mut self, version: Version) {
        self.full_states.nack(version);
    }

    /// Changes only. See [`super::substream::Substream::take`].
    pub(super) fn take_changes(
        &mut self,
        client: &mut ClientState,
        kind: ResourceType,
        transport: Transport,
        phase: Phase,
        open: bool,
    ) -> Taken {
        let outgoing = match &self.retry_queue {
            Some(queue) => queue.is_sent_in(phase).then(|| queue.outgoing(client)),
            None => {
                let difference = Difference::of(client, kind, transport);
                match difference.select(phase, open, self.answer_owed) {
                    Selection::Together(outgoing) => Some(outgoing),
                    Selection::OneByOne {
                        batch,
                        empty_answer,
                    } => {
                        self.retry_queue = RetryQueue::new(batch, phase);
                        let queue = self.retry_queue.as_ref();
                        queue.map(|queue| queue.outgoing(client)).or(empty_answer)
                    }
                }
            }
        };
        let Some(outgoing) = outgoing else {
            return Taken::Nothing;
        };
        if !open && !outgoing.is_empty() {
            return Taken::Blocked;
        }
        self.retry_queue = self.retry_queue.take().and_then(RetryQueue::rest);
        Taken::Send {
            outgoing,
            version: client.version().unwrap_or(Version::EMPTY),
        }
    }

    /// The full state. See [`super::substream::Substream::take`].
    pub(super) fn take_full_state(
        &mut self,
        client: &mut ClientState,
        has_acknowledged: bool,
        phase: Phase,
        open: bool,
    ) -> Taken {
        if self.full_states.take_claim(client) {
            client.settle_all();
            self.answer_owed = false;
        }
        let difference = FullStateDifference::of(client);
        self.answer_owed |=
            !difference.changes() && self.full_states.is_unproven(client, has_acknowledged);
        let Some(resources) = difference.resources(client, phase, self.answer_owed) else {
            return Taken::Nothing;
        };
        let version = version_of(&resources);
        if self.full_states.is_nacked(version) && !self.answer_owed {
            return Taken::Nothing;
        }
        if !open {
            return Taken::Blocked;
        }
        let is_changed = |resource: &&Resource| {
            let name = resource.name();
            client.unsettled(name).is_some() && client.newest(name).is_some()
        };
        let outgoing = Outgoing {
            changed: Some(resources.iter().filter(is_changed).cloned().collect()),
            resources,
            ..Outgoing::default()
        };
        Taken::Send { outgoing, version }
    }

    #[cfg(test)]
    pub(super) fn has_retries(&self) -> bool {
        self.retry_queue.is_some()
    }
}
