use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Reply, Response, Transport, TypeState, TypeStatus,
    client_state::ClientState,
    heartbeat::{self, HeartbeatTimer},
    in_flight::InFlight,
    next_response::NextResponse,
    order::{PATIENCE, Phase},
    outgoing::Taken,
    response_log::{Progress, ResponseLog},
    subscription::SubscriptionChange,
    unconfirmed::UnconfirmedResources,
    unsettled::NackMark,
};
use crate::{
    published::PublishedSnapshot,
    resource::{Resource, ResourceChange, ResourceSet, ResourceType, Version},
};

/// The state of one type on one stream. It knows nothing of other types.
///
/// Most fields are empty most of the time: a client that has everything costs its names and this
/// struct.
#[derive(Debug)]
pub(super) struct Substream {
    kind: ResourceType,
    transport: Transport,
    client: ClientState,
    sync_state: SyncState,
    /// What the client claims to have does not count, until it has acknowledged everything.
    claims_untrusted: bool,
    next: NextResponse,
    log: ResponseLog,
    heartbeat: HeartbeatTimer,
    /// Since when content waits for the ACKs of other types, all of which have been sent.
    blocked_since: Option<Instant>,
}

/// Where the client is, relative to the newest snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SyncState {
    /// Not computed yet, or something is still to be sent or acknowledged.
    Pending,
    /// The client has acknowledged everything.
    Synced,
    /// The client has acknowledged everything except what it NACKed.
    Nacked,
}

/// By type; `None` until the client's first request for it.
pub(super) type Substreams = [Option<Box<Substream>>; ResourceType::ALL.len()];

impl Substream {
    pub(super) fn new(
        kind: ResourceType,
        transport: Transport,
        newest: Option<Arc<ResourceSet>>,
    ) -> Self {
        Self {
            kind,
            transport,
            client: ClientState::new(newest, transport.sends_full_state(kind)),
            sync_state: SyncState::Pending,
            claims_untrusted: false,
            next: NextResponse::default(),
            log: ResponseLog::default(),
            heartbeat: HeartbeatTimer::default(),
            blocked_since: None,
        }
    }

    /// Replaces the newest resources. Returns whether anything that the client wants has changed.
    pub(super) fn rebase(
        &mut self,
        set: &Arc<ResourceSet>,
        changes: Option<&[ResourceChange]>,
    ) -> bool {
        let changed = self.client.rebase(set, changes);
        if changed {
            self.reopen();
        }
        changed
    }

    pub(super) fn client_mut(&mut self) -> &mut ClientState {
        &mut self.client
    }

    /// Enters what the client claims to have, in a delta request. Returns how many of the names do
    /// not exist.
    ///
    /// Claims of endpoints do not count. Endpoints are sent on every new stream, since Envoy may need
    /// them for a cluster that it is warming.
    pub(super) fn enter_claims(
        &mut self,
        versions: &HashMap<String, String>,
        unconfirmed: Option<&UnconfirmedResources>,
    ) -> usize {
        self.claims_untrusted = unconfirmed.is_some_and(|found| found.claims_untrusted);
        let versions_count = self.kind != ResourceType::Endpoints && !self.claims_untrusted;
        let missing = self.client.enter_claims(versions, versions_count);
        if let Some(unconfirmed) = unconfirmed {
            self.client.enter_unconfirmed(&unconfirmed.names);
        }
        missing
    }

    /// Enters the version that the client claims to have, in a state-of-the-world request.
    pub(super) fn enter_claimed_version(
        &mut self,
        version: &str,
        unconfirmed: Option<&UnconfirmedResources>,
    ) {
        self.claims_untrusted = unconfirmed.is_some_and(|found| !found.is_empty());
        if !self.claims_untrusted {
            self.next.claim(version);
        }
    }

    /// Enters a change of the subscription.
    pub(super) fn apply(&mut self, first: bool, change: &SubscriptionChange) {
        self.reopen();
        self.client.apply(change);
        let full_state = self.client.is_full_state();
        if change.asked_all {
            self.next.owe_answer();
            // The first request gets what the client does not have; a later one gets everything.
            if !first && !full_state {
                self.client.owe_all();
            }
        }
        if full_state && (first || !change.asked.is_empty()) {
            self.next.owe_answer();
        }
    }

    /// The client will forget what it has under `name`, and an ACK in flight will not count for it.
    /// The resource must be sent again.
    pub(super) fn void(&mut self, name: &Arc<str>) {
        if !self.client.wants(name) {
            return;
        }
        self.reopen();
        self.client.void(name);
        self.log.void(name);
    }

    /// Enters an ACK or a NACK. Returns whether it answers the response in flight; others say nothing
    /// about content.
    pub(super) fn answer(&mut self, reply: &Reply, instance: &str, now: Instant) -> bool {
        let Some(in_flight) = self.log.take_answered(&reply.nonce, instance) else {
            return false;
        };
        if in_flight.heartbeat {
            return true;
        }
        self.sync_state = SyncState::Pending;
        match &reply.error {
            None => self.acknowledge(&in_flight, now),
            Some(message) => self.nack(&in_flight, message, now),
        }
        true
    }

    /// What is sent in `phase`. `open` tells whether the types that this step waits for are
    /// acknowledged. Nothing may be in flight.
    pub(super) fn take(&mut self, phase: Phase, open: bool) -> Taken {
        let (client, next) = (&mut self.client, &mut self.next);
        let taken = if client.is_full_state() {
            let has_acknowledged = self.log.acknowledged().is_some();
            next.take_full_state(client, has_acknowledged, phase, open)
        } else {
            next.take_changes(client, self.kind, self.transport, phase, open)
        };
        if matches!(taken, Taken::Nothing) && phase.removes() {
            self.blocked_since = None;
            self.conclude();
        }
        taken
    }

    /// Content waits for the ACKs of other types. `patient` tells whether it waits for a limited
    /// time.
    pub(super) fn block(&mut self, patient: bool, now: Instant) {
        self.blocked_since = patient.then(|| self.blocked_since.unwrap_or(now));
    }

    /// Records that `content`, made from `published`, is sent now. Returns its nonce.
    pub(super) fn send(
        &mut self,
        content: InFlight,
        published: &PublishedSnapshot,
        instance: &Arc<str>,
        now: Instant,
    ) -> Arc<str> {
        let sent = content.resources.iter().map(Resource::name);
        for name in sent.chain(&content.removed) {
            self.client.mark_sent(name);
        }
        self.next.sent();
        self.blocked_since = None;
        self.sync_state = SyncState::Pending;
        self.log.send(content, published, instance, now)
    }

    /// Starts or advances the TTL timer for resources that are sent now.
    pub(super) fn schedule_heartbeat(&mut self, resources: &[Resource], now: Instant) {
        self.heartbeat.schedule(resources, now);
    }

    /// Starts the TTL timer if nothing has started it.
    pub(super) fn ensure_heartbeat(&mut self, now: Instant) {
        self.heartbeat.ensure_scheduled(&self.client, now);
    }

    /// The response that renews the TTLs of the client's resources, if it is due.
    pub(super) fn heartbeat(
        &mut self,
        published: &PublishedSnapshot,
        instance: &Arc<str>,
        now: Instant,
    ) -> Option<Response> {
        if self.client.is_full_state() || !self.is_heartbeat_due(now) {
            return None;
        }
        let resources = heartbeat::renewable(&self.client);
        self.heartbeat.restart(&resources, now);
        if resources.is_empty() {
            return None;
        }
        let content = InFlight::heartbeat();
        Some(Response {
            kind: self.kind,
            nonce: self.log.send(content, published, instance, now),
            version: self.client.version().unwrap_or(Version::EMPTY),
            resources: resources.into(),
            removed: Vec::new(),
            absent: Vec::new(),
            heartbeat: true,
            ttl: true,
        })
    }

    /// Updates what depends on the time. Returns whether the response in flight has become overdue.
    pub(super) fn note_time(&mut self, answer_limit: Duration, now: Instant) -> bool {
        self.renew_full_state(now);
        self.log.note_overdue(answer_limit, now)
    }

    /// When something is due for this type although nothing comes in.
    pub(super) fn deadlines(&self, answer_limit: Duration) -> [Option<Instant>; 3] {
        [
            self.blocked_since.map(|since| since + PATIENCE),
            self.heartbeat.due(),
            self.log.answer_due(answer_limit),
        ]
    }

    pub(super) fn kind(&self) -> ResourceType {
        self.kind
    }

    pub(super) fn client(&self) -> &ClientState {
        &self.client
    }

    pub(super) fn sync_state(&self) -> SyncState {
        self.sync_state
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.log.in_flight().is_some()
    }

    /// Whether `nonce` is that of the last response. Before the first response, an empty one is.
    pub(super) fn is_latest(&self, nonce: &str, instance: &str) -> bool {
        self.log.is_latest(nonce, instance)
    }

    pub(super) fn progress(&self) -> Progress {
        self.log.progress()
    }

    pub(super) fn is_out_of_patience(&self, now: Instant) -> bool {
        self.blocked_since
            .is_some_and(|since| now >= since + PATIENCE)
    }

    pub(super) fn status(&self) -> TypeStatus {
        TypeStatus {
            kind: self.kind,
            state: self.state(),
            sent: self.log.sent().cloned(),
            acknowledged: self.log.acknowledged().cloned(),
            nacked: self.log.nacked().cloned(),
        }
    }

    pub(super) fn state(&self) -> TypeState {
        match self.sync_state {
            SyncState::Synced => TypeState::Synced,
            SyncState::Nacked => TypeState::Nacked {
                message: self
                    .log
                    .nacked()
                    .map_or_else(|| "".into(), |nack| Arc::clone(&nack.message)),
                resources: self.nacked_names(),
            },
            SyncState::Pending => match (self.log.in_flight(), self.log.sent()) {
                (Some(in_flight), Some(sent)) if in_flight.overdue => {
                    TypeState::Lagging { since: sent.at }
                }
                (_, None) => TypeState::NotSent,
                _ => TypeState::Stale,
            },
        }
    }

    /// What remains unconfirmed if the stream ends now.
    pub(super) fn unconfirmed(&self) -> UnconfirmedResources {
        let claims_untrusted = self.claims_untrusted && self.sync_state != SyncState::Synced;
        UnconfirmedResources::at_end(&self.client, self.log.in_flight(), claims_untrusted)
    }

    /// Something has changed: the sync state is unknown, and the response in flight is not the last
    /// one.
    fn reopen(&mut self) {
        self.sync_state = SyncState::Pending;
        self.next.reset_retries();
        self.log.mark_incomplete();
    }

    /// Nothing is left to send: the client has everything, or it has NACKed the rest.
    fn conclude(&mut self) {
        self.sync_state = if self.client.is_settled() {
            self.claims_untrusted = false;
            SyncState::Synced
        } else {
            SyncState::Nacked
        };
    }

    fn acknowledge(&mut self, in_flight: &InFlight, now: Instant) {
        self.client.acknowledge(in_flight);
        self.next.acknowledged();
        self.log.acknowledge(in_flight, now);
    }

    fn nack(&mut self, in_flight: &InFlight, message: &Arc<str>, now: Instant) {
        let removed = in_flight.removed.iter().map(|name| (name, None));
        let sent = in_flight.resources.iter();
        let content: Vec<_> = sent
            .map(|resource| (resource.name(), Some(resource.version())))
            .chain(removed)
            .collect();
        let names = content.iter().map(|(name, _)| *name);
        self.log.nack(self.kind, message, names, now);
        if self.client.is_full_state() {
            self.next.full_state_nacked(in_flight.version);
            self.client.nack_full_state(&in_flight.resources);
        }
        if let [(name, version)] = content[..] {
            self.client.nack_one(name, version);
        } else {
            self.client.nack_batch(&content);
        }
    }

    /// Full state: a heartbeat without bodies would delete the resources, so everything is sent
    /// again. Content that the client has NACKed is not.
    fn renew_full_state(&mut self, now: Instant) {
        if self.client.is_full_state() && self.is_heartbeat_due(now) {
            self.heartbeat.stop();
            if self.sync_state == SyncState::Synced {
                self.next.owe_answer();
                self.sync_state = SyncState::Pending;
            }
        }
    }

    fn is_heartbeat_due(&self, now: Instant) -> bool {
        self.log.in_flight().is_none() && self.heartbeat.is_due(now)
    }

    /// The first names that the client NACKed and that it should still have.
    fn nacked_names(&self) -> Vec<Arc<str>> {
        let names = self.client.unsettled_names();
        let nacked = names.filter(|(_, state)| matches!(state.nack, NackMark::Alone(_)));
        let nacked = nacked.map(|(name, _)| Arc::clone(name));
        nacked.take(TypeState::MAX_RESOURCES).collect()
    }

    #[cfg(test)]
    pub(super) fn latest_nonce(&self) -> Option<crate::nonce::Nonce> {
        self.log.latest_nonce()
    }

    #[cfg(test)]
    pub(super) fn has_retries(&self) -> bool {
        self.next.has_retries()
    }
}
