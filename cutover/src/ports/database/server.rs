use std::sync::Arc;

use pointsman_catalog::ServerName;

use super::{
    error::ProviderError,
    fence::Fence,
    missing::{MissingRole, NotOffered, ServerRole},
    observe::{LeftTimeline, Observation, Observe},
    preparation::Preparation,
    probe_table::ProbeTable,
    promotion::GuardedPromotion,
    replication::Replication,
    reverse_stream::{ReversePublisher, ReverseSubscriber},
    sessions::SessionControl,
    wal_proof::WalProof,
};

/// One PostgreSQL server under control: the roles that its provider gives it.
///
/// Every method of a role observes before it acts, so running it twice equals running it
/// once. Every wait is bounded by the method's own deadline. Control sessions run with
/// `synchronous_commit = local` and `default_transaction_read_only = off`.
#[derive(Clone, Debug)]
pub struct ControlledServer {
    name: ServerName,
    roles: Roles,
}

/// A role, or why the provider does not give it.
pub type Offer<T> = Result<Arc<T>, NotOffered>;

/// What a provider gives one server.
#[derive(Clone, Debug)]
pub struct Roles {
    pub observe: Arc<dyn Observe>,
    pub sessions: Offer<dyn SessionControl>,
    pub fence: Offer<dyn Fence>,
    pub replication: Offer<dyn Replication>,
    pub guarded_promotion: Offer<dyn GuardedPromotion>,
    pub wal_proof: Offer<dyn WalProof>,
    pub reverse_publisher: Offer<dyn ReversePublisher>,
    pub reverse_subscriber: Offer<dyn ReverseSubscriber>,
    pub probe_table: Offer<dyn ProbeTable>,
    pub preparation: Offer<dyn Preparation>,
}

impl ControlledServer {
    pub fn new(name: ServerName, roles: Roles) -> Self {
        Self { name, roles }
    }

    /// The catalogue's name of this server.
    pub fn name(&self) -> &ServerName {
        &self.name
    }

    /// What a provider gave it.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// What the server is now.
    pub async fn observe(&self) -> Result<Observation, ProviderError> {
        self.roles.observe.observe().await
    }

    /// Where it left `timeline`, once it is a primary.
    pub async fn left_timeline(&self, timeline: u32) -> Result<LeftTimeline, ProviderError> {
        self.roles.observe.left_timeline(timeline).await
    }

    pub fn sessions(&self) -> Result<&dyn SessionControl, MissingRole> {
        self.offered(ServerRole::Sessions, &self.roles.sessions)
    }

    pub fn fence(&self) -> Result<&dyn Fence, MissingRole> {
        self.offered(ServerRole::Fence, &self.roles.fence)
    }

    pub fn replication(&self) -> Result<&dyn Replication, MissingRole> {
        self.offered(ServerRole::Replication, &self.roles.replication)
    }

    pub fn guarded_promotion(&self) -> Result<&dyn GuardedPromotion, MissingRole> {
        self.offered(ServerRole::GuardedPromotion, &self.roles.guarded_promotion)
    }

    pub fn wal_proof(&self) -> Result<&dyn WalProof, MissingRole> {
        self.offered(ServerRole::WalProof, &self.roles.wal_proof)
    }

    pub fn reverse_publisher(&self) -> Result<&dyn ReversePublisher, MissingRole> {
        self.offered(ServerRole::ReversePublisher, &self.roles.reverse_publisher)
    }

    pub fn reverse_subscriber(&self) -> Result<&dyn ReverseSubscriber, MissingRole> {
        self.offered(
            ServerRole::ReverseSubscriber,
            &self.roles.reverse_subscriber,
        )
    }

    pub fn probe_table(&self) -> Result<&dyn ProbeTable, MissingRole> {
        self.offered(ServerRole::ProbeTable, &self.roles.probe_table)
    }

    pub fn preparation(&self) -> Result<&dyn Preparation, MissingRole> {
        self.offered(ServerRole::Preparation, &self.roles.preparation)
    }

    fn offered<'a, T: ?Sized>(
        &self,
        role: ServerRole,
        offer: &'a Offer<T>,
    ) -> Result<&'a T, MissingRole> {
        offer
            .as_deref()
            .map_err(|why| self.missing(role, why.clone()))
    }

    fn missing(&self, role: ServerRole, why: NotOffered) -> MissingRole {
        MissingRole {
            server: self.name.clone(),
            role,
            reason: why.reason,
            remedy: why.remedy,
        }
    }
}
