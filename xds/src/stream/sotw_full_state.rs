//! State of the world, types whose responses carry the full state: what a response does not hold
//! is deleted. A resource that must be deleted is therefore sent again as long as other types may
//! refer to it.

use super::{client_state::ClientState, order::Phase, unsettled::Known};
use crate::resource::{Resource, Version, version_of};

/// Versions of full states that the client claims to have or has NACKed. Nothing is allocated as long
/// as there are none.
#[derive(Debug, Default)]
pub(super) struct FullStates(Option<Box<Versions>>);

#[derive(Debug, Default)]
struct Versions {
    /// The version that the client claims to have kept, until it is compared.
    claimed: Option<Version>,
    /// The version of the last response, if the client NACKed it.
    nacked: Option<Version>,
}

/// How what the client has differs from what it must have.
#[derive(Debug, Default)]
pub(super) struct FullStateDifference {
    /// Whether a resource must be sent that the client does not have.
    changes: bool,
    /// Resources that the client has and must delete.
    departing: Vec<Resource>,
}

impl FullStates {
    /// Enters the version of the client's first request.
    pub(super) fn claim(&mut self, version: &str) {
        if let Some(version) = Version::parse(version) {
            self.0.get_or_insert_default().claimed = Some(version);
        }
    }

    /// Returns, once, whether the client has the newest set according to its claim. The claim of a
    /// client that names its resources says nothing: it may have named others before.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-and-resource-type-instance-version>
    pub(super) fn take_claim(&mut self, client: &ClientState) -> bool {
        let Some(versions) = &mut self.0 else {
            return false;
        };
        let claimed = versions.claimed.take();
        if versions.nacked.is_none() {
            self.0 = None;
        }
        claimed.is_some() && claimed == client.version() && client.subscription().is_wildcard()
    }

    pub(super) fn acknowledge(&mut self) {
        if let Some(versions) = &mut self.0 {
            versions.nacked = None;
        }
    }

    pub(super) fn nack(&mut self, version: Version) {
        self.0.get_or_insert_default().nacked = Some(version);
    }

    pub(super) fn is_nacked(&self, version: Version) -> bool {
        self.nacked() == Some(version)
    }

    /// Whether the client may have anything from an earlier stream, because it has NACKed all that
    /// it was sent on this one. It must then be sent a response even if nothing has changed.
    pub(super) fn is_unproven(&self, client: &ClientState, has_acknowledged: bool) -> bool {
        let subscription = client.subscription();
        let wants_some = subscription.is_wildcard() || !subscription.names().is_empty();
        self.nacked().is_some_and(|nacked| {
            wants_some && !has_acknowledged && nacked != version_of(&client.wanted())
        })
    }

    fn nacked(&self) -> Option<Version> {
        self.0.as_ref()?.nacked
    }
}

impl FullStateDifference {
    /// Compares what the client has with the newest snapshot. Names that are equal are settled.
    pub(super) fn of(client: &mut ClientState) -> Self {
        let mut found = Self::default();
        client.retain_unsettled(|_, newest, state| {
            match (newest, &state.known) {
                (Some(newest), known) if known.is(newest.version()) => return false,
                (None, Known::Nothing) => return false,
                (None, Known::Resource(resource)) => found.departing.push(resource.clone()),
                // A resource that is not known was NACKed together with others. It must not be sent
                // again merely for the order of deletions.
                (Some(_), _) | (None, Known::Unknown | Known::Claimed | Known::Version(_)) => {
                    found.changes = true;
                }
            }
            true
        });
        found
    }

    pub(super) fn changes(&self) -> bool {
        self.changes
    }

    /// The resources to send in `phase`, by name; `None` if nothing is to be sent.
    pub(super) fn resources(
        self,
        client: &ClientState,
        phase: Phase,
        answer_owed: bool,
    ) -> Option<Vec<Resource>> {
        let Self { changes, departing } = self;
        let due = match phase {
            Phase::Upsert => changes || (answer_owed && departing.is_empty()),
            Phase::Both => changes || !departing.is_empty() || answer_owed,
            // Changes that are still there have been NACKed. They are not sent as removals.
            Phase::Remove => !departing.is_empty() && !changes,
        };
        if !due {
            return None;
        }
        let mut resources = client.wanted();
        if phase == Phase::Upsert && !departing.is_empty() {
            resources.extend(departing);
            resources.sort_by(|a, b| a.name().cmp(b.name()));
        }
        Some(resources)
    }
}
