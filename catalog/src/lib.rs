//! Servers, databases, endpoints, routes, epochs and registered sidecars as types, and the
//! [`Store`] that holds them.
//!
//! This crate knows nothing of Envoy, SQL or gRPC.

mod catalog;
mod conninfo;
mod database;
mod declaration;
mod endpoint;
mod names;
mod node;
mod route;
mod secret;
mod server;
pub mod store;
mod time;

pub use catalog::{
    Applied, Catalog, CatalogChanges, CatalogError, ChangedRoutes, Registered, Registration,
};
pub use conninfo::{
    ChannelBinding, ConnectionSpec, Conninfo, Host, Keepalive, Roots, SslMode, TlsSpec, TlsVersion,
};
pub use database::{Database, ListenPorts};
pub use declaration::{Declaration, DeclarationError};
pub use endpoint::{Endpoint, EndpointError};
pub use names::{DatabaseName, NameError, NodeId, ServerName};
pub use node::Node;
pub use route::{Epoch, Role, Route, RouteChange, Routes};
pub use secret::Secret;
pub use server::{FenceLevel, FenceLevelError, PasswordSource, Server};
pub use store::Store;
pub use time::UnixMillis;
