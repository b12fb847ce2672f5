use std::collections::BTreeMap;

use pointsman_catalog::{DatabaseName, ServerName, UnixMillis};

use crate::{
    Lsn,
    machine::{PromotionDeadline, Side},
    ports::{
        Armed, Exempt, FenceToken, FormerSettings, Look, PromotionOutlook, ProofMethod, StandbysSet,
    },
};

use super::{
    not_proven::NotProven,
    server_watch::ServerSeen,
    target::{AskedPromotion, FencedTarget, Promotion, ReverseStream},
};

/// One thing that a step found out. The step returns it; the driver alone makes it part of the
/// record.
#[derive(Clone, Debug)]
pub(crate) enum Learned {
    LeaseTaken {
        system_identifier: String,
    },
    SetUp {
        timeline: u32,
        exempt: Exempt,
    },
    SourceTimeline(u32),
    /// By which slot of the source the target is fed, where it has one.
    StandbySlot(Option<String>),
    /// The standbys of the source besides the target, as they call themselves.
    Standbys(Vec<String>),
    /// `synchronous_standby_names` of the target, before the switch.
    Synchronous(String),
    /// Commits on the target are about to wait for the source, where this was set before; `None`: they
    /// do not wait any more.
    Durable(Option<StandbysSet>),
    /// Whether the source can be the subscriber of a reverse stream, or why not.
    WayBack(Result<(), String>),
    FormerReaders(BTreeMap<DatabaseName, Vec<ServerName>>),
    Held {
        until: UnixMillis,
    },
    SourceClosed {
        former: FormerSettings,
        token: FenceToken,
    },
    FenceProved {
        token: FenceToken,
        /// Of a guarded promotion; a managed one has none.
        deadline: Option<PromotionDeadline>,
        by: ProofMethod,
    },
    /// An API promotes the target; `None`: SQL does.
    Outlook(Option<PromotionOutlook>),
    /// The intent to ask an API for the promotion follows.
    PromotionAsked(AskedPromotion),
    /// Of a request that is sent once this is on record.
    PromotionDeadline(PromotionDeadline),
    Promoted {
        promotion: Promotion,
        deadline: Option<PromotionDeadline>,
    },
    Primed {
        stream: ReverseStream,
        by: ProofMethod,
    },
    NotProven(NotProven),
    /// What a look at a server that was left found: at the source in the bake, or at either behind the
    /// end.
    Seen(Side, ServerSeen),
    Armed(Armed),
    /// The next step of a rollback lets superusers into the source.
    SourceAdmits(Look),
    /// The source is closed again; `gap` is what was written there meanwhile.
    SourceShut {
        gap: Option<String>,
    },
    /// The slots will be dropped: no later arming finds them.
    StreamGivenUp,
    /// The same, because they keep too much WAL.
    SlotsGivenUp {
        why: String,
        /// Up to where the source has everything.
        delivered: Lsn,
    },
    TargetClosed(FencedTarget),
    TargetOpened,
}
