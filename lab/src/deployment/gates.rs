//! The gates that a lab puts between its parts.

use std::net::SocketAddr;

use anyhow::Result;

use crate::{control_plane::ControlPlane, gate::Gate, postgres::PostgresPair};

/// Which gates a lab puts in. Application traffic never passes one.
#[derive(Clone, Debug, Default)]
pub struct GateOptions {
    /// Between Pointsman's control sessions and the source.
    pub source_control: bool,
    /// Between Pointsman's control sessions and the target.
    pub target_control: bool,
    /// Between the standby and its primary.
    pub replication: bool,
    /// Between the reverse stream's subscriber and the promoted target.
    pub reverse_stream: bool,
    /// Between the sidecar of this number and the control plane.
    pub xds_of: Option<u8>,
}

/// The gates that were put in.
#[derive(Debug)]
pub struct Gates {
    pub source_control: Option<Gate>,
    pub target_control: Option<Gate>,
    pub reverse_stream: Option<Gate>,
    pub xds: Option<Gate>,
}

impl Gates {
    pub(super) async fn start(
        options: &GateOptions,
        pair: &PostgresPair,
        control_plane: &ControlPlane,
    ) -> Result<Self> {
        let (source, target) = (pair.source.address(), pair.target.address());
        Ok(Self {
            source_control: gate(options.source_control, source).await?,
            target_control: gate(options.target_control, target).await?,
            reverse_stream: gate(options.reverse_stream, target).await?,
            xds: gate(options.xds_of.is_some(), control_plane.xds()).await?,
        })
    }
}

async fn gate(wanted: bool, upstream: SocketAddr) -> Result<Option<Gate>> {
    Ok(match wanted {
        true => Some(Gate::start(upstream).await?),
        false => None,
    })
}
