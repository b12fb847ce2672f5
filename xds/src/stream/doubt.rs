//! What a client may have although it never said so: content of responses that it refused beside
//! others or never answered. On its next stream it tells of what it accepted alone, so the fleet
//! keeps this for it in between.

use std::sync::Arc;

use super::{
    TypeStatus,
    open::{Known, Verdict},
    substream::{Standing, Substream},
};
use crate::resource::{Resource, ResourceType};

/// Of one type.
#[derive(Clone, Debug, Default)]
pub(crate) enum Doubt {
    #[default]
    None,
    /// These resources may be there, or may not be what the client says.
    Names(Arc<[Arc<str>]>),
    /// Nothing that the client says counts.
    All,
}

/// By type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubts([Doubt; ResourceType::ALL.len()]);

impl Doubt {
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn names(&self) -> &[Arc<str>] {
        match self {
            Self::Names(names) => names,
            Self::None | Self::All => &[],
        }
    }
}

impl Doubts {
    pub(crate) fn of(&self, kind: ResourceType) -> &Doubt {
        &self.0[kind.index()]
    }

    /// `before` and, for the types that a stream had, what it leaves behind.
    pub(crate) fn after(
        before: Option<Box<Self>>,
        had: &[TypeStatus],
        left: Option<Box<Self>>,
    ) -> Option<Box<Self>> {
        if before.is_none() && left.is_none() {
            return None;
        }
        let (mut doubts, left) = (before.unwrap_or_default(), left.unwrap_or_default());
        for TypeStatus { kind, .. } in had {
            doubts.set(*kind, left.of(*kind).clone());
        }
        let any = doubts.0.iter().any(|doubt| !doubt.is_none());
        any.then_some(doubts)
    }

    pub(crate) fn set(&mut self, kind: ResourceType, doubt: Doubt) {
        self.0[kind.index()] = doubt;
    }
}

impl Substream {
    pub(super) fn doubt(&self) -> Doubt {
        let in_flight = self.in_flight.as_ref().filter(|sent| !sent.heartbeat);
        let unsettled = self.standing != Standing::Settled;
        if unsettled && (self.doubted || (self.is_whole() && in_flight.is_some())) {
            return Doubt::All;
        }
        let sent = in_flight.into_iter().flat_map(|sent| {
            let resources = sent.resources.iter().map(Resource::name);
            resources.chain(&*sent.removed)
        });
        let refused = self.open.iter().filter(|(_, entry)| {
            matches!(entry.known, Known::Unknown) || matches!(entry.verdict, Verdict::Suspect(_))
        });
        let names = sent.chain(refused.map(|(name, _)| name));
        let names: Vec<_> = names.take(MOST + 1).cloned().collect();
        match names.len() {
            0 => Doubt::None,
            _ if self.is_whole() => Doubt::All,
            1..=MOST => Doubt::Names(names.into()),
            _ => Doubt::All,
        }
    }
}

/// Names that are kept apart.
const MOST: usize = 256;
