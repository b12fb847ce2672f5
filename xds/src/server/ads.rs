use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Limits;
use crate::{cache::SnapshotCache, fleet::Fleet, http2::Stop, node::NodeDirectory};

/// What all discovery streams of a server share.
#[derive(Debug)]
pub(super) struct Ads {
    pub(super) cache: Arc<SnapshotCache>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) directory: Arc<dyn NodeDirectory>,
    pub(super) instance: Arc<str>,
    /// The encoded `control_plane` of responses, which names the instance.
    pub(super) control_plane: Vec<u8>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) limits: Arc<Limits>,
    pub(super) stop: Arc<Stop>,
}
