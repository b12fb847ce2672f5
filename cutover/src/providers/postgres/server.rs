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
use crate::ports::{GuardedPromotion, Offer, ReversePublisher, ReverseSubscriber, Roles};

/// A server that is reached by SQL has every role that its control role may play.
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
    let powers = &control.powers;
    let publisher: Offer<dyn ReversePublisher> = powers.publish().map(|()| publisher as _);
    let subscriber: Offer<dyn ReverseSubscriber> = powers.subscribe().map(|()| {
        Arc::new(SqlReverseSubscriber {
            control: Arc::clone(&control),
            clients,
            sessions: Arc::clone(&sessions),
        }) as _
    });
    let promotion: Offer<dyn GuardedPromotion> = powers.promote().map(|()| {
        Arc::new(SqlPromotion {
            control: Arc::clone(&control),
            identity: identity.clone(),
            replication: Arc::clone(&replication),
        }) as _
    });
    Roles {
        observe: Arc::new(identity.clone()),
        sessions: Ok(sessions as _),
        fence: Ok(fence),
        replication: Ok(replication as _),
        guarded_promotion: promotion,
        wal_proof: Ok(wal),
        reverse_publisher: publisher,
        reverse_subscriber: subscriber,
        probe_table: Ok(Arc::new(SqlProbeTable::new(Arc::clone(&control)))),
        preparation: Ok(Arc::new(SqlPreparation {
            control,
            identity,
            hba,
        })),
    }
}
