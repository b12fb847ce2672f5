//! Which responses a stream sends, and in which order.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::Instant;

use super::{
    Machine, Response,
    in_flight::InFlight,
    order::{ORDER, Step},
    outgoing::{Outgoing, Taken},
    response_log::Progress,
    substream::{Substream, SyncState},
};
use crate::{
    published::PublishedSnapshot,
    resource::{Resource, ResourceType, Version},
};

impl Machine {
    /// Everything that may be sent now, in order.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<Response> {
        // Moved, not cloned: the streams of a group share one reference count.
        let Some(published) = self.published.take() else {
            return Vec::new();
        };
        self.note_time(now);
        let mut responses = Vec::new();
        let mut progress = [Progress::Done; ResourceType::ALL.len()];
        for step in &ORDER {
            responses.extend(self.step(step, &published, &mut progress, now));
        }
        let substreams = self.substreams.iter_mut().flatten();
        responses.extend(
            substreams.filter_map(|substream| substream.heartbeat(&published, &self.instance, now)),
        );
        self.published = Some(published);
        responses
    }

    /// When [`Machine::advance`] must be called although nothing has come in.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let limit = self.terms.bounds.answer;
        let substreams = self.substreams.iter().flatten();
        substreams
            .flat_map(|substream| substream.deadlines(limit))
            .flatten()
            .filter(|due| *due > now)
            .min()
    }

    /// Updates what depends on the time. [`Machine::advance`] does so, too.
    pub(crate) fn note_time(&mut self, now: Instant) {
        let limit = self.terms.bounds.answer;
        for (at, substream) in self.substreams.iter_mut().enumerate() {
            if let Some(substream) = substream
                && substream.note_time(limit, now)
            {
                self.touched |= 1 << at;
            }
        }
    }

    fn step(
        &mut self,
        step: &Step,
        published: &PublishedSnapshot,
        progress: &mut [Progress; ResourceType::ALL.len()],
        now: Instant,
    ) -> Option<Response> {
        let at = step.kind.index();
        let substream = self.substreams[at].as_deref_mut()?;
        if substream.sync_state() != SyncState::Pending || progress[at] != Progress::Done {
            return None;
        }
        if substream.is_in_flight() {
            progress[at] = substream.progress();
            return None;
        }
        let awaited = step.after.iter().map(|kind| progress[kind.index()]);
        let awaited = awaited.max().unwrap_or(Progress::Done);
        let patient = awaited == Progress::Sent && step.phase.upserts();
        let open = match awaited {
            Progress::Done => true,
            Progress::Sent => patient && substream.is_out_of_patience(now),
            Progress::Unsent => false,
        };
        match substream.take(step.phase, open) {
            Taken::Nothing => {
                if self.terms.ttl && step.phase.removes() {
                    substream.ensure_heartbeat(now);
                }
                None
            }
            Taken::Blocked => {
                progress[at] = Progress::Unsent;
                substream.block(patient, now);
                None
            }
            Taken::Send { outgoing, version } => {
                let response = self.send(step.kind, outgoing, version, published, now);
                progress[at] = self.substreams[at]
                    .as_ref()
                    .map_or(Progress::Done, |substream| Substream::progress(substream));
                response
            }
        }
    }

    fn send(
        &mut self,
        kind: ResourceType,
        outgoing: Outgoing,
        version: Version,
        published: &PublishedSnapshot,
        now: Instant,
    ) -> Option<Response> {
        self.touched |= 1 << kind.index();
        let substream = self.substreams[kind.index()].as_deref_mut()?;
        let resources: Arc<[Resource]> = outgoing.resources.into();
        let content = InFlight {
            resources: Arc::clone(&resources),
            removed: [&outgoing.removed[..], &outgoing.absent[..]]
                .concat()
                .into(),
            voided: BTreeSet::new(),
            version,
            incomplete: outgoing.incomplete,
            overdue: false,
            heartbeat: false,
        };
        let nonce = substream.send(content, published, &self.instance, now);
        let ttl = self.terms.ttl && resources.iter().any(|r| r.ttl().is_some());
        if ttl {
            substream.schedule_heartbeat(&resources, now);
        }
        // The client warms what it is sent, and needs what it refers to again.
        let changed = outgoing.changed.as_deref().unwrap_or(&resources);
        for (kind, name) in changed.iter().flat_map(Resource::references) {
            if let Some(referred) = self.substreams[kind.index()].as_deref_mut() {
                referred.void(name);
                self.touched |= 1 << kind.index();
            }
        }
        Some(Response {
            kind,
            nonce,
            version,
            resources,
            removed: outgoing.removed,
            absent: outgoing.absent,
            heartbeat: false,
            ttl,
        })
    }
}
