//! The checks that ask a PostgreSQL server. One file holds one check: its query, its
//! judgement and its messages, and is named for the check's slug.
//!
//! A check is added by its file, its two lines here, and its place in `docs/preflight.md`.

mod control_one_server;
mod control_other_users;
mod control_ready;
mod control_role;
mod missing;
mod place;
mod process_way_back_ready;
mod replica_other_promoters;
mod replica_same_system;
mod replica_shared_archive;
mod replica_streaming;
mod replica_synchronous_standbys;
mod replication;
mod reverse_always_triggers;
mod reverse_durable;
mod reverse_large_objects;
mod reverse_partitions_due;
mod reverse_replica_identity;
mod reverse_wal_level;
mod rights_no_way_back;
mod rights_probe_role;
mod rights_switch;
mod rights_way_back;
mod source_fence_covers_everyone;
mod source_prepared_transactions;
mod source_replication_writers;
mod source_slot_and_worker_room;
mod source_standby_roles;
mod source_subscriptions;
mod source_unlisted_databases;
mod source_unlogged_tables;

use crate::checks::Check;

/// Every check of this folder.
pub const CHECKS: &[&dyn Check] = &[
    &control_one_server::OneServer,
    &control_other_users::OtherUsers,
    &control_ready::ControlReady,
    &process_way_back_ready::WayBackReady,
    &replica_other_promoters::OtherPromoters,
    &replica_same_system::SameSystem,
    &replica_shared_archive::SharedArchive,
    &replica_streaming::Streaming,
    &replica_synchronous_standbys::SynchronousStandbys,
    &reverse_always_triggers::AlwaysTriggers,
    &reverse_durable::DurableWayBack,
    &reverse_large_objects::LargeObjects,
    &reverse_partitions_due::PartitionsDue,
    &reverse_replica_identity::ReplicaIdentity,
    &reverse_wal_level::WalLevel,
    &rights_no_way_back::NoWayBack,
    &rights_probe_role::ProbeRole,
    &rights_switch::RightsForSwitch,
    &rights_way_back::RightsForWayBack,
    &source_fence_covers_everyone::FenceCoversEveryone,
    &source_prepared_transactions::PreparedTransactions,
    &source_replication_writers::ReplicationWriters,
    &source_slot_and_worker_room::SlotAndWorkerRoom,
    &source_standby_roles::StandbyRoles,
    &source_subscriptions::Subscriptions,
    &source_unlisted_databases::UnlistedDatabases,
    &source_unlogged_tables::UnloggedTables,
];
