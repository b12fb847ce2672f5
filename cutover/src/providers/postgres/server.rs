//! The roles of one server, over the control sessions that they share.

use std::sync::Arc;

use super::{
    client_sessions::ClientSessions,
    control_sessions::ControlSessions,
    fence::SqlFence,
    hba::HbaFile,
    identity::SqlIdentity,
    preparation::SqlPreparation,
    probe_table::SqlProbeTable,
    promotion::SqlPromotion,
    replication::SqlReplication,
    reverse::{SqlReversePublisher, SqlReverseSubscriber},
    session_control::{SqlSessions, Warmed},
    wal::SqlWalProof,
};
use crate::ports::Roles;

/// A server that is reached by SQL has every role.
pub(super) fn roles(control: ControlSessions) -> Roles {
    let control = Arc::new(control);
    let clients = ClientSessions::new(Arc::clone(&control));
    let identity = SqlIdentity::new(Arc::clone(&control));
    let hba = Arc::new(HbaFile::new(Arc::clone(&control)));
    let replication = Arc::new(SqlReplication::new(Arc::clone(&control)));
    let wal = Arc::new(SqlWalProof::new(Arc::clone(&control)));
    let publisher = Arc::new(SqlReversePublisher::new(Arc::clone(&control)));
    let fence = Arc::new(SqlFence {
        control: Arc::clone(&control),
        clients: clients.clone(),
        identity: identity.clone(),
        hba: Arc::clone(&hba),
    });
    let sessions = Arc::new(SqlSessions {
        control: Arc::clone(&control),
        clients: clients.clone(),
        warmed: Warmed {
            identity: identity.clone(),
            replication: Arc::clone(&replication),
            fence: Arc::clone(&fence),
            wal: Arc::clone(&wal),
            publisher: Arc::clone(&publisher),
        },
    });
    Roles {
        observe: Arc::new(identity.clone()),
        sessions: Ok(Arc::clone(&sessions) as _),
        fence: Ok(fence),
        replication: Ok(Arc::clone(&replication) as _),
        guarded_promotion: Ok(Arc::new(SqlPromotion {
            control: Arc::clone(&control),
            identity: identity.clone(),
            replication,
        })),
        wal_proof: Ok(wal),
        reverse_publisher: Ok(publisher),
        reverse_subscriber: Ok(Arc::new(SqlReverseSubscriber {
            control: Arc::clone(&control),
            clients,
            sessions,
        })),
        probe_table: Ok(Arc::new(SqlProbeTable::new(Arc::clone(&control)))),
        preparation: Ok(Arc::new(SqlPreparation {
            control,
            identity,
            hba,
        })),
    }
}
