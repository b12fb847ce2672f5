//! What goes out, and when.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::Instant;

use super::{
    Machine, Response,
    difference::Taken,
    order::{ORDER, PATIENCE, Step},
    substream::{InFlight, Outgoing, Progress, Substream, SyncState},
};
use crate::{
    published::PublishedSnapshot,
    resource::{Resource, ResourceType, Version},
};

impl Machine {
    /// Everything that may go out now, in order.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<Response> {
        // Taken out, not cloned: all streams of a group would count their clones in one place.
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

    /// When [`Machine::advance`] must be called again although nothing has come in.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let substreams = self.substreams.iter().flatten();
        substreams
            .flat_map(|substream| {
                let patience = substream.blocked_since.map(|since| since + PATIENCE);
                [patience, substream.beat, self.answer_due(substream)]
            })
            .flatten()
            .filter(|due| *due > now)
            .min()
    }

    /// Takes note of what is late. [`Machine::advance`] does so, too.
    pub(crate) fn note_time(&mut self, now: Instant) {
        for at in 0..self.substreams.len() {
            let late = self.substreams[at]
                .as_deref()
                .and_then(|substream| self.answer_due(substream))
                .is_some_and(|due| due <= now);
            let Some(substream) = self.substreams[at].as_deref_mut() else {
                continue;
            };
            substream.renew_full_state(now);
            if late && let Some(in_flight) = &mut substream.in_flight {
                in_flight.overdue = true;
                self.touched |= 1 << at;
            }
        }
    }

    fn answer_due(&self, substream: &Substream) -> Option<Instant> {
        let in_flight = substream.in_flight.as_ref()?;
        let sent = substream.sent.as_ref()?;
        (!in_flight.overdue).then(|| sent.at + self.terms.bounds.answer)
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
        if substream.sync_state != SyncState::Pending || progress[at] != Progress::Done {
            return None;
        }
        if substream.in_flight.is_some() {
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
                    substream.plan_beat(now);
                }
                None
            }
            Taken::Blocked => {
                progress[at] = Progress::Unsent;
                substream.blocked_since = patient.then(|| substream.blocked_since.unwrap_or(now));
                None
            }
            Taken::Send { outgoing, version } => {
                let response = self.send(step.kind, outgoing, version, published, now);
                progress[at] = self.substreams[at]
                    .as_ref()
                    .map_or(Progress::Done, |substream| substream.progress());
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
            void: BTreeSet::new(),
            version,
            outdated: outgoing.partial,
            overdue: false,
            heartbeat: false,
        };
        let nonce = substream.send(content, published, &self.instance, now);
        let ttl = self.terms.ttl && resources.iter().any(|r| r.ttl().is_some());
        if ttl {
            substream.schedule_beat(&resources, now);
        }
        // What was sent warms anew, and waits for what it refers to.
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
