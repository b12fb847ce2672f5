use std::sync::Arc;

use anyhow::Context as _;
use pointsman_proto::v1::admin_server::AdminServer;
use pointsman_xds::{ServerTls, TlsIncoming};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use crate::admin::{
    Admin,
    access::{Access, Guarded},
};

/// Serves operators until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    service: AdminServer<Admin>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let stopped = stop.cancelled_owned();
    let Some(tls) = tls else {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        return Server::builder()
            .add_service(Guarded::new(service, Access::Open))
            .serve_with_incoming_shutdown(incoming, stopped)
            .await
            .context("the admin listener");
    };
    let incoming = TlsIncoming::new(listener, Arc::clone(&tls));
    let serving = Server::builder()
        .add_service(Guarded::new(service, Access::ByCertificate))
        .serve_with_incoming_shutdown(incoming, stopped);
    tokio::select! {
        served = serving => served.context("the admin listener"),
        never = tls.watch(ServerTls::WATCH) => match never {},
    }
}
