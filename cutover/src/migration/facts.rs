use std::collections::BTreeMap;

use pointsman_catalog::{DatabaseName, ServerName, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    machine::{Direction, PromotionDeadline, Side},
    ports::{
        Exempt, FenceToken, FormerSettings, Look, Marker, PromotionOutlook, ProofMethod,
        StandbysSet,
    },
};

use super::{
    learned::Learned,
    not_proven::NotProven,
    server_watch::ServerWatch,
    target::{AskedPromotion, Coverage, FencedTarget, Promotion, ReverseStream},
};

/// What steps found out and later steps, an undo or another process need. Only
/// `Facts::learn` and the beginning of a switch change it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Facts {
    /// Shared by source and target; the lease that the migration holds is under its name.
    system_identifier: Option<String>,
    source_timeline: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standby_slot: Option<String>,
    /// The standbys of the source besides the target, as they called themselves before the switch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    standbys: Vec<String>,
    /// `synchronous_standby_names` of the target before the switch, if commits there wait for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former_synchronous: Option<String>,
    /// Of the target, before its commits were made to wait for the source; `None` where they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before_durable: Option<StandbysSet>,
    exempt: Exempt,
    former_readers: BTreeMap<DatabaseName, Vec<ServerName>>,
    hold_until: Option<UnixMillis>,
    promotion_outlook: Option<PromotionOutlook>,
    source: Option<FencedSource>,
    /// Why the source can be no subscriber of a reverse stream.
    no_way_back: Option<String>,
}

/// The source behind the fence of a forward switch, and what followed from that.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct FencedSource {
    former: FormerSettings,
    token: FenceToken,
    proof: Option<ProvedFence>,
    /// Of either server.
    not_proven: Vec<NotProven>,
    /// In the bake.
    watch: ServerWatch,
}

/// What follows from a proof that nobody wrote behind the fence; without it nothing is promoted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct ProvedFence {
    by: ProofMethod,
    /// Of a guarded promotion.
    promotion_deadline: Option<PromotionDeadline>,
    /// Of a managed one.
    asked: Option<AskedPromotion>,
    target: Option<PromotedTarget>,
}

impl FencedSource {
    fn new(former: FormerSettings, token: FenceToken) -> Self {
        Self {
            former,
            token,
            proof: None,
            not_proven: Vec::new(),
            watch: ServerWatch::default(),
        }
    }

    /// A later proof of the same fence changes nothing that followed from an earlier one.
    fn prove(&mut self, by: ProofMethod, promotion_deadline: Option<PromotionDeadline>) {
        let (asked, target) = match self.proof.take() {
            Some(former) => (former.asked, former.target),
            None => (None, None),
        };
        self.proof = Some(ProvedFence {
            by,
            promotion_deadline,
            asked,
            target,
        });
    }

    /// A later look finds the same, or more, on the same server.
    fn add_not_proven(&mut self, found: NotProven) {
        let mut known = self.not_proven.iter_mut();
        match known.find(|known| known.server == found.server) {
            Some(known) => *known = found,
            None => self.not_proven.push(found),
        }
    }
}

/// The target as a primary, and what followed from that.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct PromotedTarget {
    promotion: Promotion,
    /// By what it stands that nobody wrote on it before its slots.
    proved_by: Option<ProofMethod>,
    stream: Option<ReverseStream>,
    fence: Option<FencedTarget>,
    /// What was seen on it behind the end of a rollback.
    #[serde(default, skip_serializing_if = "ServerWatch::is_blank")]
    watch: ServerWatch,
}

impl PromotedTarget {
    fn new(promotion: Promotion) -> Self {
        Self {
            promotion,
            proved_by: None,
            stream: None,
            fence: None,
            watch: ServerWatch::default(),
        }
    }

    /// What was seen before is the former fence's.
    fn was_closed(&mut self, fence: FencedTarget) {
        self.fence = Some(fence);
        self.watch = ServerWatch::default();
    }
}

/// Something that a step needs and the record does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0} is not on record, and nothing is done on a guess: the journal of this migration is \
     incomplete; `pointsman recover` reads what the servers themselves have recorded"
)]
pub struct MissingFact(&'static str);

impl Facts {
    /// What the lease is held under, once `start` has taken it.
    pub fn lease(&self) -> Option<&str> {
        self.system_identifier.as_deref()
    }

    /// The identity that source and target share.
    pub fn system_identifier(&self) -> Result<&str, MissingFact> {
        self.lease().ok_or(MissingFact("the system identifier"))
    }

    /// The source's timeline at the beginning of the switch.
    pub fn source_timeline(&self) -> Result<u32, MissingFact> {
        self.source_timeline
            .ok_or(MissingFact("the source's timeline"))
    }

    /// By which slot of the source the target was fed when the switch began, where it had one.
    pub fn standby_slot(&self) -> Option<&str> {
        self.standby_slot.as_deref()
    }

    /// The standbys of the source besides the target, as they called themselves since the start.
    pub fn standbys(&self) -> &[String] {
        &self.standbys
    }

    /// Which standbys commits on the target waited for before the switch, if for any.
    pub fn former_synchronous(&self) -> Option<&str> {
        self.former_synchronous.as_deref()
    }

    /// What was set on the target before its commits were made to wait for the source; `None` where
    /// they do not wait.
    pub fn before_durable(&self) -> Option<&StandbysSet> {
        self.before_durable.as_ref()
    }

    /// What WAL proofs do not count.
    pub fn exempt(&self) -> &Exempt {
        &self.exempt
    }

    /// Reader routes saved before the first hold; undo and rollback restore them.
    pub fn former_readers(&self) -> &BTreeMap<DatabaseName, Vec<ServerName>> {
        &self.former_readers
    }

    /// When the hold of the current switch ends.
    pub fn hold_until(&self) -> Option<UnixMillis> {
        self.hold_until
    }

    /// The former settings of a server that this record knows to be closed.
    pub fn closed(&self, side: Side) -> Option<&FormerSettings> {
        let source = self.source.as_ref()?;
        match side {
            Side::Source => Some(&source.former),
            Side::Target => Some(&self.target()?.fence.as_ref()?.former),
        }
    }

    /// The same, for a step that cannot do without them.
    pub fn former_settings(&self, side: Side) -> Result<&FormerSettings, MissingFact> {
        self.closed(side).ok_or(MissingFact(match side {
            Side::Source => "what the source's settings were before it was closed",
            Side::Target => "what the target's settings were before it was closed",
        }))
    }

    /// The token of the forward switch: without it nothing is promoted.
    pub fn token(&self) -> Result<&FenceToken, MissingFact> {
        let source = self.source.as_ref();
        source
            .map(|source| &source.token)
            .ok_or(MissingFact("the fence token"))
    }

    /// The marker of the fence of a switch in `direction`.
    pub fn marker(&self, direction: Direction) -> Result<&Marker, MissingFact> {
        match direction {
            Direction::Forward => Ok(&self.token()?.marker),
            Direction::Reverse => {
                let fence = self.target().and_then(|target| target.fence.as_ref());
                fence
                    .map(|fence| &fence.marker)
                    .ok_or(MissingFact("the marker of the target's fence"))
            }
        }
    }

    /// Past it the target refuses to be promoted by this switch; `None` before the proof that
    /// sets it.
    pub fn promotion_deadline(&self) -> Option<PromotionDeadline> {
        self.proof()?.promotion_deadline
    }

    /// What is known of the target's promotion beforehand; `None` where SQL promotes it.
    pub fn promotion_outlook(&self) -> Option<PromotionOutlook> {
        self.promotion_outlook
    }

    /// The promotion that an API was asked for by this switch, or may have been.
    pub fn asked_promotion(&self) -> Option<AskedPromotion> {
        self.proof()?.asked
    }

    /// How the target was promoted.
    pub fn promotion(&self) -> Result<Promotion, MissingFact> {
        let target = self.target();
        target
            .map(|target| target.promotion)
            .ok_or(MissingFact("the target's promotion"))
    }

    /// The reverse stream's slots and what they hold.
    pub fn stream(&self) -> Result<&ReverseStream, MissingFact> {
        let target = self.target();
        target
            .and_then(|target| target.stream.as_ref())
            .ok_or(MissingFact("the reverse stream"))
    }

    /// Whether a rollback has let superusers in to the source, and no undo has shut it again with proof.
    pub(crate) fn admits_strangers(&self) -> bool {
        self.stream().is_ok_and(|stream| stream.admitted.is_some())
    }

    /// From where on a proof counts that nobody wrote on the promoted target.
    pub fn promoted_at(&self) -> Result<Look, MissingFact> {
        let marker = self.marker(Direction::Forward)?;
        Ok(marker.look.on_promoted(self.promotion()?.fork))
    }

    /// By what it stands that nobody wrote on the server on `side` behind the fence of the
    /// forward switch.
    pub fn proved_by(&self, side: Side) -> Option<ProofMethod> {
        match side {
            Side::Source => Some(self.proof()?.by),
            Side::Target => self.target()?.proved_by,
        }
    }

    /// What keeps the way back from being proven, though nothing contradicts it.
    pub fn not_proven(&self) -> &[NotProven] {
        self.source
            .as_ref()
            .map_or(&[], |source| source.not_proven.as_slice())
    }

    /// What was seen on the source since the fence of the switch.
    pub fn source_watch(&self) -> Option<&ServerWatch> {
        self.source.as_ref().map(|source| &source.watch)
    }

    /// What was seen on a server since its fence.
    pub fn watch(&self, side: Side) -> Option<&ServerWatch> {
        match side {
            Side::Source => self.source_watch(),
            Side::Target => self.target().map(|target| &target.watch),
        }
    }

    /// Why there will be no reverse stream: once the target was written to, there is no way
    /// back without loss.
    pub fn no_way_back(&self) -> Option<&str> {
        self.no_way_back.as_deref()
    }

    /// Takes over what a step found out.
    ///
    /// # Errors
    /// What it follows from is not on record.
    pub(crate) fn learn(&mut self, learned: Learned) -> Result<(), MissingFact> {
        match learned {
            Learned::LeaseTaken { system_identifier } => {
                self.system_identifier = Some(system_identifier);
            }
            Learned::SetUp { timeline, exempt } => {
                self.source_timeline = Some(timeline);
                self.exempt = exempt;
            }
            Learned::SourceTimeline(timeline) => self.source_timeline = Some(timeline),
            Learned::StandbySlot(slot) => self.standby_slot = slot,
            Learned::Standbys(names) => {
                self.standbys.extend(names);
                self.standbys.sort_unstable();
                self.standbys.dedup();
            }
            Learned::Synchronous(names) => {
                self.former_synchronous = Some(names).filter(|names| !names.is_empty());
            }
            Learned::Durable(former) => self.before_durable = former,
            Learned::WayBack(offered) => self.no_way_back = offered.err(),
            Learned::FormerReaders(readers) => self.former_readers = readers,
            Learned::Held { until } => self.hold_until = Some(until),
            Learned::SourceClosed { former, token } => {
                self.source = Some(FencedSource::new(former, token));
            }
            Learned::FenceProved {
                token,
                deadline,
                by,
            } => {
                let source = self.source_mut()?;
                source.token = token;
                source.prove(by, deadline);
            }
            Learned::Outlook(outlook) => self.promotion_outlook = outlook,
            Learned::PromotionAsked(asked) => self.proof_mut()?.asked = Some(asked),
            Learned::PromotionDeadline(deadline) => {
                self.proof_mut()?.promotion_deadline = Some(deadline);
            }
            Learned::Promoted {
                promotion,
                deadline,
            } => {
                let proof = self.proof_mut()?;
                proof.promotion_deadline = deadline;
                proof.target = Some(PromotedTarget::new(promotion));
            }
            Learned::Primed { stream, by } => {
                let target = self.target_mut()?;
                target.stream = Some(stream);
                target.proved_by = Some(by);
            }
            Learned::NotProven(found) => self.source_mut()?.add_not_proven(found),
            Learned::Seen(Side::Source, seen) => self.source_mut()?.watch.add(seen),
            Learned::Seen(Side::Target, seen) => self.target_mut()?.watch.add(seen),
            Learned::Armed(armed) => self.stream_mut()?.was_armed(armed),
            Learned::SourceAdmits(look) => self.stream_mut()?.admitted = Some(look),
            Learned::SourceShut { gap } => self.stream_mut()?.source_was_shut(gap),
            Learned::StreamGivenUp => self.stream_mut()?.coverage = Coverage::Incomplete,
            Learned::SlotsGivenUp { why, delivered } => {
                self.stream_mut()?.slots_were_given_up(why, delivered);
            }
            Learned::TargetClosed(fence) => self.target_mut()?.was_closed(fence),
            Learned::TargetOpened => self.target_mut()?.fence = None,
        }
        Ok(())
    }

    /// Forgets what was true of the former attempt only.
    pub(super) fn begin_switch(&mut self, direction: Direction) {
        self.hold_until = None;
        match direction {
            Direction::Forward => self.source = None,
            Direction::Reverse => {
                if let Ok(target) = self.target_mut() {
                    target.fence = None;
                }
            }
        }
    }

    fn proof(&self) -> Option<&ProvedFence> {
        self.source.as_ref()?.proof.as_ref()
    }

    fn target(&self) -> Option<&PromotedTarget> {
        self.proof()?.target.as_ref()
    }

    fn source_mut(&mut self) -> Result<&mut FencedSource, MissingFact> {
        self.source.as_mut().ok_or(MissingFact("the fence token"))
    }

    fn proof_mut(&mut self) -> Result<&mut ProvedFence, MissingFact> {
        let proof = self.source_mut()?.proof.as_mut();
        proof.ok_or(MissingFact("the proof of the source's fence"))
    }

    fn target_mut(&mut self) -> Result<&mut PromotedTarget, MissingFact> {
        let target = self.proof_mut()?.target.as_mut();
        target.ok_or(MissingFact("the target's promotion"))
    }

    fn stream_mut(&mut self) -> Result<&mut ReverseStream, MissingFact> {
        let stream = self.target_mut()?.stream.as_mut();
        stream.ok_or(MissingFact("the reverse stream"))
    }
}
