//! A cell of the table: which write of which run, on which side of it, and what happens there.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::wire::Point;

/// What is asked of a migration, and under way when something happens.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// `migration start`.
    Start,
    /// `migration switch`: there, until the way back is proven.
    Switch,
    /// `migration rollback`: back, until the source serves.
    Rollback,
    /// `migration complete`, in the bake.
    Complete,
    /// `migration cancel`, before any switch.
    Cancel,
}

/// What happens at a write.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL of the control plane, which is started again.
    Killed,
    /// SIGKILL of every process of the source, which a supervisor starts again.
    SourceCrash,
    /// The same of the target.
    TargetCrash,
    /// One of two sidecars loses the control plane until the run has settled.
    SidecarCut,
    /// Every session of the control plane in both servers is cut.
    SessionsCut,
    /// The writer hears that the store failed: before, nothing was written; after, everything was.
    AnswerLost,
}

/// A write of an undisturbed run.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Place {
    /// Which run it is of.
    pub run: Run,
    /// Its number in that run, from 1.
    pub number: usize,
    /// What is written.
    pub label: String,
    /// How many writes like it there have been by then, with it.
    pub occurrence: usize,
    /// Whether the intent behind which nothing can simply be taken back was written before it.
    pub behind_the_intent: bool,
    /// Whether that intent is in it.
    pub is_the_intent: bool,
}

/// One case.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Cell {
    /// The write.
    pub place: Place,
    /// On which side of it.
    pub point: Point,
    /// What happens there.
    pub fault: Fault,
}

impl Run {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Start,
        Self::Switch,
        Self::Rollback,
        Self::Complete,
        Self::Cancel,
    ];

    /// Its verb.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Switch => "switch",
            Self::Rollback => "rollback",
            Self::Complete => "complete",
            Self::Cancel => "cancel",
        }
    }

    /// The entry behind which nothing can simply be taken back.
    fn intent(self) -> Option<&'static str> {
        match self {
            Self::Switch => Some("promote intent"),
            Self::Rollback => Some("flip intent"),
            Self::Start | Self::Complete | Self::Cancel => None,
        }
    }

    /// Where an undisturbed one ends.
    #[must_use]
    pub fn end(self) -> &'static str {
        match self {
            Self::Start => "prepared",
            Self::Switch => "baking",
            Self::Rollback => "rolled_back",
            Self::Complete => "completed",
            Self::Cancel => "cancelled",
        }
    }

    /// Where it begins.
    #[must_use]
    pub fn beginning(self) -> &'static str {
        match self {
            Self::Start => "planned",
            Self::Switch | Self::Cancel => "prepared",
            Self::Rollback | Self::Complete => "baking",
        }
    }

    /// Whether the target serves when it begins.
    #[must_use]
    pub fn begins_in_the_bake(self) -> bool {
        self.beginning() == "baking"
    }
}

impl Fault {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Killed,
        Self::SourceCrash,
        Self::TargetCrash,
        Self::SidecarCut,
        Self::SessionsCut,
        Self::AnswerLost,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::SourceCrash => "source crash",
            Self::TargetCrash => "target crash",
            Self::SidecarCut => "sidecar cut off",
            Self::SessionsCut => "sessions cut",
            Self::AnswerLost => "answer lost",
        }
    }

    /// Whether it takes a server away.
    #[must_use]
    pub fn takes_a_server(self) -> bool {
        match self {
            Self::SourceCrash | Self::TargetCrash => true,
            Self::Killed | Self::SidecarCut | Self::SessionsCut | Self::AnswerLost => false,
        }
    }
}

impl Place {
    /// The writes of an undisturbed run, in order.
    #[must_use]
    pub fn all(run: Run, written: &[String]) -> Vec<Self> {
        let mut behind_the_intent = false;
        let mut places = Vec::with_capacity(written.len());
        for (index, label) in written.iter().enumerate() {
            let same = |earlier: &&String| *earlier == label;
            let is_the_intent = run.intent().is_some_and(|intent| label.contains(intent));
            places.push(Self {
                run,
                number: index + 1,
                label: label.clone(),
                occurrence: written.iter().take(index + 1).filter(same).count(),
                behind_the_intent,
                is_the_intent,
            });
            behind_the_intent |= is_the_intent;
        }
        places
    }
}

impl Cell {
    /// Every cell over `places`.
    #[must_use]
    pub fn all(places: &[Place]) -> Vec<Self> {
        let of_place = |place: &Place| {
            let place = place.clone();
            Fault::ALL.into_iter().flat_map(move |fault| {
                let place = place.clone();
                [Point::Before, Point::After].map(|point| Self {
                    place: place.clone(),
                    point,
                    fault,
                })
            })
        };
        places.iter().flat_map(of_place).collect()
    }

    /// Whether the engine goes on behind the intent from which nothing can simply be taken back. A
    /// write that only stood still is made after all.
    #[must_use]
    pub fn intent_is_written(&self) -> bool {
        let Place {
            behind_the_intent,
            is_the_intent,
            ..
        } = self.place;
        let never_made = self.fault == Fault::Killed && self.point == Point::Before;
        behind_the_intent || (is_the_intent && !never_made)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            point,
            fault,
        } = self;
        let (run, number) = (place.run.verb(), place.number);
        let (point, fault) = (point.label(), fault.label());
        write!(f, "{run} {number} {point} [{}]: {fault}", place.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intent_divides_a_run() {
        let written = ["routes", "journal: prove done, promote intent", "routes"];
        let places = Place::all(Run::Switch, &written.map(str::to_owned));
        let cells = Cell::all(&places);
        assert_eq!(cells.len(), 3 * 2 * 6);
        let killed = cells.iter().filter(|cell| cell.fault == Fault::Killed);
        let written: Vec<_> = killed.map(Cell::intent_is_written).collect();
        assert_eq!(written, [false, false, false, true, true, true]);
        assert_eq!(places.last().map(|place| place.occurrence), Some(2));
    }
}
