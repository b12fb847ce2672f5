//! The whole system: the real program, real Envoys, real PostgreSQL, clients that verify every
//! write, and what can happen to them.

#[path = "end_to_end/beside.rs"]
mod beside;
#[path = "end_to_end/crashes.rs"]
mod crashes;
#[path = "end_to_end/cut_off.rs"]
mod cut_off;
#[path = "end_to_end/evidence.rs"]
mod evidence;
#[path = "end_to_end/fleet.rs"]
mod fleet;
#[path = "end_to_end/flip.rs"]
mod flip;
#[path = "end_to_end/going_back.rs"]
mod going_back;
#[path = "end_to_end/lost_store.rs"]
mod lost_store;
#[path = "end_to_end/managed_promotion.rs"]
mod managed_promotion;
#[path = "end_to_end/on_the_way.rs"]
mod on_the_way;
#[path = "end_to_end/operator.rs"]
mod operator;
#[path = "end_to_end/outage.rs"]
mod outage;
#[path = "end_to_end/readers.rs"]
mod readers;
#[path = "end_to_end/refusing.rs"]
mod refusing;
#[path = "end_to_end/secrets.rs"]
mod secrets;
#[path = "end_to_end/seen.rs"]
mod seen;
#[path = "end_to_end/sidecar_cache.rs"]
mod sidecar_cache;
#[path = "end_to_end/support.rs"]
mod support;
#[path = "end_to_end/undone.rs"]
mod undone;
#[path = "end_to_end/way_back.rs"]
mod way_back;
