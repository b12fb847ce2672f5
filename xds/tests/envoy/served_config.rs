//! What the server publishes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use pointsman_xds::Resource;
use prost::Message;

use crate::{
    control_plane::ControlPlane,
    process::{Envoy, Transport},
    resources::{cluster, endpoints, listener, runtime},
    traffic::{Backend, answers},
};

/// One cluster, one listener that forwards to it, and the runtime layer of the bootstrap.
#[derive(Clone, Debug)]
pub(crate) struct ServedConfig {
    pub(crate) cluster: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) listener: String,
    /// The listener's port.
    pub(crate) front: u16,
    /// The endpoint's; Envoy refuses one above 65535.
    pub(crate) backend: u32,
}

impl ServedConfig {
    pub(crate) fn new(front: u16, backend: u32) -> Self {
        Self {
            cluster: "db".to_owned(),
            connect_timeout: Duration::from_secs(1),
            listener: "front".to_owned(),
            front,
            backend,
        }
    }

    /// A control plane that publishes this, and an Envoy that reaches `backend` by it.
    pub(crate) async fn served(
        &self,
        backend: &Backend,
        transport: Transport,
    ) -> (ControlPlane, Envoy) {
        let server = ControlPlane::start().await;
        server.publish(self.resources());
        let envoy = Envoy::start(server.port, transport).await;
        answers(self.front, backend).await;
        (server, envoy)
    }

    pub(crate) fn resources(&self) -> Vec<Resource> {
        let mut resources = self.route();
        resources.push(runtime("layer"));
        resources
    }

    /// All but the runtime layer: to stand beside another config.
    pub(crate) fn route(&self) -> Vec<Resource> {
        vec![
            cluster(&self.cluster, self.connect_timeout),
            endpoints(&self.cluster, self.backend),
            listener(&self.listener, self.front, &self.cluster),
        ]
    }
}

/// The resource with its message changed.
pub(crate) fn edited<M: Message + Default>(
    resource: &Resource,
    edit: impl FnOnce(&mut M),
) -> Resource {
    let mut message = M::decode(resource.body().clone()).unwrap();
    edit(&mut message);
    let body = Bytes::from(message.encode_to_vec());
    Resource::new(resource.kind(), Arc::clone(resource.name()), body)
}
