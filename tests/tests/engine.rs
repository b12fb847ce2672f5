//! The engine on real PostgreSQL, without sidecars.

#[path = "engine/abandon.rs"]
mod abandon;
#[path = "engine/adversaries.rs"]
mod adversaries;
#[path = "engine/answers.rs"]
mod answers;
#[path = "engine/api.rs"]
mod api;
#[path = "engine/bake_watch.rs"]
mod bake_watch;
#[path = "engine/commit_origins.rs"]
mod commit_origins;
#[path = "engine/crashes.rs"]
mod crashes;
#[path = "engine/durability.rs"]
mod durability;
#[path = "engine/durable_way_back.rs"]
mod durable_way_back;
#[path = "engine/exits.rs"]
mod exits;
#[path = "engine/failures.rs"]
mod failures;
#[path = "engine/last_look.rs"]
mod last_look;
#[path = "engine/left_server.rs"]
mod left_server;
#[path = "engine/managed.rs"]
mod managed;
#[path = "engine/managed_fence.rs"]
mod managed_fence;
#[path = "engine/managed_fence_by_ids.rs"]
mod managed_fence_by_ids;
#[path = "engine/managed_stalls.rs"]
mod managed_stalls;
#[path = "engine/other_servers.rs"]
mod other_servers;
#[path = "engine/outage.rs"]
mod outage;
#[path = "engine/process.rs"]
mod process;
#[path = "engine/promotion_port.rs"]
mod promotion_port;
#[path = "engine/requests.rs"]
mod requests;
#[path = "engine/roles.rs"]
mod roles;
#[path = "engine/servers.rs"]
mod servers;
#[path = "engine/slots.rs"]
mod slots;
#[path = "engine/support.rs"]
mod support;
#[path = "engine/timelines.rs"]
mod timelines;
#[path = "engine/transaction_ids.rs"]
mod transaction_ids;
#[path = "engine/undriven.rs"]
mod undriven;
#[path = "engine/way_back.rs"]
mod way_back;
#[path = "engine/without_superuser.rs"]
mod without_superuser;
