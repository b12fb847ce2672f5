use std::sync::Arc;

use pointsman_catalog::Catalog;
use pointsman_cutover::{Engine, ports::Providers};
use tokio_util::sync::CancellationToken;

use crate::{flip::Flip, publish::Publishing, telemetry::SessionTracker};

/// What requests of operators are answered from.
#[derive(Debug)]
pub(crate) struct AdminContext {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) publishing: Publishing,
    pub(crate) tracker: Arc<SessionTracker>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) providers: Providers,
    pub(crate) flip: Flip,
    /// Where sidecars reach the control plane.
    pub(crate) xds: String,
    /// The name of its certificate there; empty on plain text.
    pub(crate) xds_identity: String,
    /// Ends the streams, which would outlive every graceful stop otherwise.
    pub(crate) stop: CancellationToken,
}
