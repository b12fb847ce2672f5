//! What clients were told, against which the end is held.

use std::collections::BTreeSet;

use pointsman_cutover::{Lsn, machine::Side};

use crate::world::World;

/// One row that somebody committed.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) database: &'static str,
    pub(crate) side: Side,
    pub(crate) lsn: Lsn,
    /// What the sequence gave it.
    pub(crate) number: i64,
    pub(crate) at: u64,
    pub(crate) acknowledged: bool,
    pub(crate) by: By,
}

/// Who committed it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum By {
    Application,
    /// Somebody who has no business there.
    Stranger,
}

/// A broken promise.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Violation {
    pub promise: &'static str,
    pub what: String,
}

/// Everything that clients and strangers did.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) rows: Vec<Row>,
    /// Rows of the target that the source has not been seen to have.
    pub(crate) unreturned: BTreeSet<usize>,
    pub(crate) violations: Vec<Violation>,
    /// When somebody else opened a server.
    pub(crate) lifted: Vec<(Side, u64)>,
    /// When the engine asked last for the opening of the source, and of the target.
    pub(crate) opening_asked: [Option<u64>; 2],
    pub(crate) refused: u64,
    pub(crate) parked: u64,
}

pub(crate) const ONE_WRITER: &str = "one writer";
pub(crate) const NOTHING_LOST: &str = "nothing acknowledged is lost";
pub(crate) const STATUS_IS_TRUE: &str = "lossless is said only of what is";
pub(crate) const HOLDS_END: &str = "every hold ends";
pub(crate) const NOTHING_LEFT: &str = "nothing is left over";
pub(crate) const ON_RECORD: &str = "the record is what the machine allows";
pub(crate) const GOES_THROUGH: &str = "what nobody disturbs goes through";
pub(crate) const IT_ENDS: &str = "an operator ends it once everything is back";

/// Every promise, in the order of the report.
pub(crate) const PROMISES: [&str; 8] = [
    ONE_WRITER,
    NOTHING_LOST,
    STATUS_IS_TRUE,
    HOLDS_END,
    NOTHING_LEFT,
    ON_RECORD,
    GOES_THROUGH,
    IT_ENDS,
];

impl Ledger {
    /// Only the first of each kind is kept.
    pub(crate) fn violated(&mut self, promise: &'static str, what: impl Into<String>) {
        if self.violations.iter().all(|known| known.promise != promise) {
            let what = what.into();
            self.violations.push(Violation { promise, what });
        }
    }

    pub(crate) fn asks_to_open(&mut self, side: Side, at: u64) {
        self.opening_asked[side as usize] = Some(at);
    }

    /// Whether somebody else had opened the server before the row was written there.
    pub(crate) fn was_lifted_before(&self, row: &Row) -> bool {
        self.lifted
            .iter()
            .any(|(side, at)| *side == row.side && *at <= row.at)
    }
}

impl World {
    /// A row is committed.
    pub(crate) fn committed(&mut self, row: Row) -> usize {
        let index = self.ledger.rows.len();
        if row.side == Side::Target {
            self.ledger.unreturned.insert(index);
        }
        if row.by == By::Application {
            self.look_for_another_writer(&row);
        }
        self.note(|_| {
            let Row {
                id,
                database,
                side,
                by,
                ..
            } = &row;
            format!(
                "{by:?} commits row {id} of {database} on the {}",
                side_name(*side)
            )
        });
        self.ledger.rows.push(row);
        index
    }

    /// At the instant of an application's commit the other server accepts none.
    fn look_for_another_writer(&mut self, row: &Row) {
        let other = match row.side {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        };
        if self.promoted_by_hand || !self.server(other).accepts_writes(row.database) {
            return;
        }
        let grace = self.grace();
        let excused = self.ledger.lifted.iter().any(|(_, at)| {
            let asked = self.ledger.opening_asked.iter().flatten().max();
            asked.is_none_or(|asked| *at + grace >= *asked)
        });
        if excused {
            return;
        }
        let what = format!(
            "row {} of {} is committed on the {} while the {} accepts writes",
            row.id,
            row.database,
            side_name(row.side),
            side_name(other)
        );
        self.ledger.violated(ONE_WRITER, what);
    }

    /// Whether nobody could see it any more: the other server was being opened, and this one is
    /// watched by nobody since.
    pub(crate) fn is_behind_the_last_look(&self, row: &Row) -> bool {
        let over = self.over_at.is_some_and(|over| row.at + NOTICED >= over);
        let source_opens = self.ledger.opening_asked[Side::Source as usize];
        let left = source_opens.is_some_and(|asked| row.at + self.grace() >= asked);
        over || (row.side == Side::Target && left)
    }

    /// From the last look at a fence to the opening behind it.
    fn grace(&self) -> u64 {
        if self.disturbed_otherwise {
            SLOW
        } else {
            QUICK
        }
    }

    pub(crate) fn acknowledged(&mut self, index: usize) {
        if let Some(row) = self.ledger.rows.get_mut(index) {
            row.acknowledged = true;
        }
    }
}

pub(crate) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Target => "target",
    }
}

/// Without anything that makes steps slow.
const QUICK: u64 = 2_500;
/// Between two looks of the run's, with what is on its way.
const NOTICED: u64 = 60_000;
/// The same with messages that are late.
const SLOW: u64 = 12_000_000;
