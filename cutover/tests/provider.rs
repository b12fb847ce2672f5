//! The PostgreSQL provider on real servers, verb by verb.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, helpers included"
)]

#[path = "provider/adversaries.rs"]
mod adversaries;
#[path = "provider/between.rs"]
mod between;
#[path = "provider/clients.rs"]
mod clients;
#[path = "provider/connections.rs"]
mod connections;
#[path = "provider/direct_tls.rs"]
mod direct_tls;
#[path = "provider/fence.rs"]
mod fence;
#[path = "provider/leaders.rs"]
mod leaders;
#[path = "provider/pair.rs"]
mod pair;
#[path = "provider/promotion.rs"]
mod promotion;
#[path = "provider/proof.rs"]
mod proof;
#[path = "provider/roles.rs"]
mod roles;
#[path = "provider/secrets.rs"]
mod secrets;
#[path = "provider/strangers.rs"]
mod strangers;
#[path = "provider/tls_server.rs"]
mod tls_server;
#[path = "provider/verbs.rs"]
mod verbs;
#[path = "provider/watched.rs"]
mod watched;
#[path = "provider/way.rs"]
mod way;
#[path = "provider/windows.rs"]
mod windows;
#[path = "provider/without_superuser.rs"]
mod without_superuser;
#[path = "provider/writers.rs"]
mod writers;
