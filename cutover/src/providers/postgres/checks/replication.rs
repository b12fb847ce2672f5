//! Both ends of physical replication, as several checks read them.

use serde::{Deserialize, Serialize};

use crate::Lsn;

/// Walsenders of standbys: physical, and reporting what they replayed, which backups and
/// WAL archivers do not.
pub(super) const STANDBYS: &str = "
SELECT r.pid, r.usename::text AS usename, r.application_name, host(r.client_addr) AS client_addr, r.state, r.sync_state,
       r.replay_lsn::text AS replay_lsn, s.slot_name::text AS slot_name,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, r.replay_lsn)::bigint AS behind_bytes,
       extract(epoch FROM clock_timestamp() - r.reply_time)::float8 AS last_reply_s
FROM pg_stat_replication r
LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
LEFT JOIN pg_stat_activity a ON a.pid = r.pid
WHERE a.datname IS NULL AND r.replay_lsn IS NOT NULL
ORDER BY r.pid";

pub(super) const RECEIVER: &str = "
SELECT pg_is_in_recovery() AS in_recovery, pg_last_wal_receive_lsn()::text AS received, pg_last_wal_replay_lsn()::text AS replayed,
       CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END AS replay_pause,
       w.pid, w.status, w.sender_host, w.sender_port, w.slot_name::text AS slot_name
FROM (SELECT) AS one LEFT JOIN pg_stat_wal_receiver w ON true";

/// A walsender that serves a standby.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Standby {
    pub(super) pid: i64,
    pub(super) usename: Option<String>,
    pub(super) application_name: String,
    pub(super) client_addr: Option<String>,
    pub(super) state: Option<String>,
    pub(super) sync_state: Option<String>,
    pub(super) replay_lsn: Option<Lsn>,
    pub(super) slot_name: Option<String>,
    pub(super) behind_bytes: Option<i64>,
    pub(super) last_reply_s: Option<f64>,
}

/// The walreceiver of a standby, and how far it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Receiver {
    pub(super) in_recovery: bool,
    pub(super) received: Option<Lsn>,
    pub(super) replayed: Option<Lsn>,
    pub(super) replay_pause: Option<String>,
    pub(super) pid: Option<i64>,
    pub(super) status: Option<String>,
    pub(super) sender_host: Option<String>,
    pub(super) sender_port: Option<u16>,
    pub(super) slot_name: Option<String>,
}

/// The walsender that serves the target. Several standbys on one host share an address,
/// so the slot tells them apart; without a slot any slotless one may be it.
pub(super) fn own_standby<'a>(receiver: &Receiver, standbys: &'a [Standby]) -> Option<&'a Standby> {
    standbys
        .iter()
        .find(|standby| standby.slot_name == receiver.slot_name)
}
