use std::sync::Arc;

use pointsman_catalog::Catalog;
use pointsman_cutover::{
    Engine,
    ports::{Clock, Providers},
};
use tokio_util::sync::CancellationToken;

use crate::{flip::Flip, publish::Publishing, telemetry::SessionTracker};

/// What the handlers of operators' requests need.
#[derive(Debug)]
pub(crate) struct AdminContext {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) publishing: Publishing,
    pub(crate) tracker: Arc<SessionTracker>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) providers: Providers,
    pub(crate) flip: Flip,
    /// Where sidecars reach the control plane.
    pub(crate) xds: String,
    /// The SPIFFE ID that it shows to sidecars; empty on plain text.
    pub(crate) xds_identity: String,
    /// Ends the response streams. Without it they would go on after a graceful stop.
    pub(crate) stop: CancellationToken,
}
