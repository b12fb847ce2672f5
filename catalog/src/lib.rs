//! Servers, databases, endpoints, routes, epochs and registered sidecars as types, and the
//! [`Store`] that holds them.
//!
//! This crate knows nothing of Envoy, SQL or gRPC.

mod catalog;
mod chain;
mod conninfo;
mod database;
mod declaration;
mod endpoint;
mod group_member;
mod identity_pattern;
mod names;
mod node;
mod node_id;
mod route;
mod secret;
mod server;
mod sidecar_group;
pub mod store;
mod time;

pub use catalog::{
    Applied, Catalog, CatalogChanges, CatalogError, Changed, ChangedRoutes, FieldChange,
    OpenSessions, Registered, Registration,
};
pub use chain::Chain;
pub use conninfo::{
    ChannelBinding, ConnectionSpec, Conninfo, Host, Keepalive, Roots, SslMode, TlsSpec, TlsVersion,
};
pub use database::{Database, ListenPorts};
pub use declaration::{Declaration, DeclarationError};
pub use endpoint::{Endpoint, EndpointError};
pub use group_member::{GroupMember, Silence};
pub use identity_pattern::{IdentityPattern, IdentityPatternError};
pub use names::{DatabaseName, GroupName, NameError, ServerName};
pub use node::Node;
pub use node_id::{NodeId, NodeIdError};
pub use route::{Epoch, Role, Route, RouteChange, Routes};
pub use secret::Secret;
pub use server::{FenceLevel, FenceLevelError, PasswordSource, Server};
pub use sidecar_group::SidecarGroup;
pub use store::Store;
pub use time::UnixMillis;
