use std::sync::Arc;

use anyhow::Context as _;
use pointsman_proto::v1::admin_server::AdminServer;
use pointsman_xds::{ClientStatus, ServerTls, TlsIncoming};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use crate::{
    admin::{
        AdminService,
        access::{Access, Guarded},
    },
    publish::Publishing,
};

/// Serves operators until `stop`: the admin API and, for Envoy's own tools, the client status
/// discovery service (CSDS). CSDS is not on the sidecars' listener, because a sidecar must not
/// read the state of others.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    service: AdminServer<AdminService>,
    publishing: Publishing,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Publishing { fleet, cache, .. } = publishing;
    // `Guarded` checks the role, so that the service admits every peer.
    let status = ClientStatus::service(fleet, cache, |_peer| Ok(()), stop.clone());
    let stopped = stop.cancelled_owned();
    let Some(tls) = tls else {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        return Server::builder()
            .add_service(Guarded::new(service, Access::Open))
            .add_service(Guarded::new(status, Access::Open))
            .serve_with_incoming_shutdown(incoming, stopped)
            .await
            .context("the admin listener");
    };
    let incoming = TlsIncoming::new(listener, Arc::clone(&tls));
    let serving = Server::builder()
        .add_service(Guarded::new(service, Access::ByCertificate))
        .add_service(Guarded::new(status, Access::ByCertificate))
        .serve_with_incoming_shutdown(incoming, stopped);
    tokio::select! {
        served = serving => served.context("the admin listener"),
        never = tls.watch(ServerTls::WATCH) => match never {},
    }
}
