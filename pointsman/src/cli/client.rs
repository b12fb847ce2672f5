//! The connection to the admin listener.

mod no_connection;

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use pointsman_proto::v1::{
    DescribeControlPlaneRequest, ListDatabasesRequest, ListDatabasesResponse, ListGroupsRequest,
    ListGroupsResponse, admin_client::AdminClient,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use self::no_connection::innermost;
use super::global::Global;

/// Connects to the control plane that `global` names, and has a first answer from it: a listener that refuses
/// the connection says so only then.
pub(super) async fn connect(global: &Global) -> anyhow::Result<AdminClient<Channel>> {
    let tls = global.admin.starts_with("https://");
    if !tls && !global.admin.starts_with("http://") {
        bail!("--admin {} is not an address like {EXAMPLE}", global.admin);
    }
    let mut endpoint = Endpoint::from_shared(global.admin.clone())
        .with_context(|| format!("--admin {} is not an address like {EXAMPLE}", global.admin))?
        .connect_timeout(CONNECT_TIMEOUT)
        // A call may last as long as a switch does; a control plane that died is noticed
        // by its silence.
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .tcp_nodelay(true);
    if tls {
        endpoint = endpoint
            .tls_config(global.certificate.config()?)
            .context("the files of --admin-cert, --admin-key and --admin-ca cannot be used")?;
    }
    let connected = endpoint.connect().await;
    let channel = connected.map_err(|error| no_connection::unreachable(global, &error))?;
    let mut client = AdminClient::new(channel).max_decoding_message_size(MAX_ANSWER);
    // Reads nothing that is large, and every role may ask it.
    let first = client.describe_control_plane(DescribeControlPlaneRequest {});
    match first.await {
        Err(status) if is_transport(&status) => Err(no_connection::ended(global, &status).await),
        // Whatever else is wrong, the answer to the request itself says.
        Ok(_) | Err(_) => Ok(client),
    }
}

/// What the control plane knows of database `name`, or of all if it is empty.
pub(super) async fn databases(
    global: &Global,
    name: String,
) -> anyhow::Result<ListDatabasesResponse> {
    let mut client = connect(global).await?;
    let found = client.list_databases(ListDatabasesRequest { name }).await;
    Ok(found.map_err(|status| refusal(&status))?.into_inner())
}

/// The sidecar group `name`, or all of them if it is empty.
pub(super) async fn groups(global: &Global, name: &str) -> anyhow::Result<ListGroupsResponse> {
    let found = connect(global)
        .await?
        .list_groups(ListGroupsRequest {
            name: name.to_owned(),
        })
        .await
        .map_err(|status| refusal(&status))?;
    Ok(found.into_inner())
}

/// The error that a person reads. The gRPC code stays behind: the message says what to do.
pub(super) fn refusal(status: &Status) -> anyhow::Error {
    if status.code() == Code::Unimplemented {
        return anyhow!(
            "the control plane does not know this request: it is of another version than this \
             program ({})",
            env!("CARGO_PKG_VERSION")
        );
    }
    if is_transport(status) {
        return anyhow!(
            "the control plane went away before it answered ({}): what was under way is in its \
             record; look with `migration status` once it is back",
            innermost(status)
        );
    }
    anyhow!("{}", status.message())
}

/// The status was made on this side, from a broken connection.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

const EXAMPLE: &str = "http://127.0.0.1:18001";
/// The admin listener is near; what does not answer in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A migration's whole record travels in one message.
const MAX_ANSWER: usize = 64 << 20;
