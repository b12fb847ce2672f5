//! An admitted discovery stream. Requests and snapshots go into its machine, responses come out, and
//! the client's status goes to the fleet.

use std::{
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use tokio::time::Instant;
use tonic::Status;
use tracing::debug;

use super::{ads::Ads, missing_resources::MissingResourceLog, wire::Form};
use crate::{
    cache::GroupSubscription,
    fleet::Connection,
    http2::Chunks,
    node::{Admission, NodeDescription},
    peer::Peer,
    resource::ResourceType,
    stream::{Bounds, Machine, Response, Terms},
};

pub(super) struct Session<F> {
    machine: Machine,
    subscription: GroupSubscription,
    connection: Connection,
    outbox: vec::IntoIter<Response>,
    /// Something has come in since the machine last composed responses.
    input_pending: bool,
    /// The client's status may have changed since it was last reported.
    unreported: bool,
    /// When the machine must run although nothing has come in.
    due: Option<Instant>,
    missing: MissingResourceLog,
    ads: Arc<Ads>,
    form: PhantomData<F>,
}

impl<F: Form> Session<F> {
    /// `own` is the type of a service that serves one type.
    pub(super) fn new(
        ads: &Arc<Ads>,
        own: Option<ResourceType>,
        mut node: NodeDescription,
        peer: Peer,
        admission: Admission,
    ) -> Self {
        let Admission {
            node: id,
            group,
            lease,
            observer,
        } = admission;
        node.id = id;
        debug!(node = %node.id, %group, transport = ?F::TRANSPORT, "discovery stream opened");
        let limits = &ads.limits;
        let bounds = Bounds {
            names: limits.names,
            name_bytes: limits.name_bytes,
            wide_requests: WIDE_REQUESTS,
            answer: limits.answer,
        };
        let terms = Terms {
            alone: own.is_some(),
            ..Terms::new(&node, F::TRANSPORT, bounds)
        };
        let subscription = ads.cache.subscribe(&group, &node.id);
        let mut connection = match observer {
            true => ads.fleet.observe(node, group, peer),
            false => ads.fleet.connect(node, group, peer, lease),
        };
        let mut machine = Machine::new(F::TRANSPORT, Arc::clone(&ads.instance), terms);
        machine.set_unconfirmed(connection.take_unconfirmed());
        let mut session = Self {
            machine,
            subscription,
            connection,
            outbox: Vec::new().into_iter(),
            input_pending: true,
            unreported: true,
            due: None,
            missing: MissingResourceLog::default(),
            ads: Arc::clone(ads),
            form: PhantomData,
        };
        session.load();
        session
    }

    /// Enters a request. `own` is the type of a service that serves one type.
    ///
    /// # Errors
    /// A status that ends the stream.
    pub(super) fn enter(
        &mut self,
        request: F::Request,
        own: Option<ResourceType>,
        now: Instant,
    ) -> Result<(), Status> {
        self.connection.heard(now);
        let type_url = F::type_url(&request);
        let kind = ResourceType::from_type_url(type_url);
        let kind = match own {
            None if type_url.is_empty() => {
                let message = "a request of an aggregated stream must carry a type_url";
                return Err(Status::invalid_argument(message));
            }
            Some(own) if type_url.is_empty() || kind == Some(own) => own,
            Some(own) => {
                let message = format!("this service serves {own}, not {type_url:?}");
                return Err(Status::invalid_argument(message));
            }
            None => {
                let Some(kind) = kind else {
                    if self.machine.unserved(type_url) {
                        let node = self.connection.node();
                        debug!(%node, type_url, "a type that is not served");
                    }
                    return Ok(());
                };
                kind
            }
        };
        self.input_pending = true;
        self.unreported = true;
        let names = F::names(&request);
        self.report_missing(kind, &names[..names.len().min(self.ads.limits.names)]);
        F::enter(&mut self.machine, kind, request, now)
            .map_err(|violation| Status::resource_exhausted(violation.to_string()))
    }

    /// The next response. The newest snapshot is loaded first, so it is sent however many requests the
    /// client sends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Chunks> {
        if self.outbox.len() == 0 {
            if self.subscription.poll_changed(cx).is_ready() {
                self.load();
            }
            if self.input_pending || self.due.is_some_and(|due| due <= now) {
                self.input_pending = false;
                self.outbox = self.machine.advance(now).into_iter();
                self.due = self.machine.deadline(now);
                self.unreported = true;
            }
            self.report();
        }
        match self.outbox.next() {
            Some(response) => Poll::Ready(F::encode(&response, &self.ads.control_plane)),
            None => {
                self.outbox = Vec::new().into_iter();
                Poll::Pending
            }
        }
    }

    /// Whether the stream must end, so that the node reconnects.
    pub(super) fn is_dismissed(&self) -> bool {
        self.subscription.is_dismissed() || self.connection.must_reconnect()
    }

    /// Called while a response waits for the client. No further response is composed.
    pub(super) fn rest(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.machine.note_time(now);
            self.input_pending = true;
            self.unreported = true;
            self.due = self.machine.deadline(now);
        }
        self.report();
    }

    /// The connection is given up, because the client has gone silent.
    pub(super) fn lost(&mut self) {
        self.connection.lost();
    }

    /// Reports the client's status to the fleet.
    fn report(&mut self) {
        if std::mem::take(&mut self.unreported) {
            self.connection.report(&mut self.machine);
        }
    }

    /// When to poll the session although nothing has come in.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Reports names that the node's group does not have to the directory.
    fn report_missing(&mut self, kind: ResourceType, names: &[String]) {
        let Some(current) = self.subscription.peek().filter(|_| !names.is_empty()) else {
            return;
        };
        let (node, directory) = (self.connection.node(), &self.ads.directory);
        self.missing
            .report_new(kind, names, &current.snapshot, |name| {
                directory.on_missing_resource(node, kind, name);
            });
    }

    fn load(&mut self) {
        if let Some(published) = self.subscription.load() {
            self.machine.publish(published);
            self.input_pending = true;
        }
    }
}

impl<F> Drop for Session<F> {
    fn drop(&mut self) {
        self.connection.keep_unconfirmed(&self.machine);
    }
}

/// Most clients ask for all resources of a type once. The cost of each such request depends on the
/// number of resources.
const WIDE_REQUESTS: u32 = 32;
