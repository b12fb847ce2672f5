//! The data-access layer in Envoy's terms: the sidecar's [`Bootstrap`], and the
//! pure function from databases and their routes to Envoy resources
//! ([`resources`]).
//!
//! Nothing here does I/O: names are resolved, time is told and resources are
//! published by the caller.

mod bootstrap;
mod hold;
mod names;
pub mod resources;

pub use bootstrap::{
    ARGUMENTS, Bootstrap, CacheSocket, CacheSocketError, LISTEN_METADATA, Secrets,
    TlsToControlPlane, Transport,
};
pub use hold::{MAX_HOLD, is_parked, outlasting};
pub use names::{
    ACCESS_LOG_NAME, CACHE_USER_AGENT, CONTROL_PLANE_CLUSTER, NODE_CLUSTER, RUNTIME_LAYER,
    cluster_of_stat_name, probe_name, probed_database, route_name, route_of_name, stat_name,
};
pub use resources::{ACCESS_LOG_DELAY, BuildError, Rendered, ServedDatabase};
