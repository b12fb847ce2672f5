//! What clients were told, against which the end is held.

use std::collections::BTreeSet;

use pointsman_cutover::{Lsn, machine::Side};

use crate::{server::MOVING, world::World};

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

/// A server that the engine has opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) side: Side,
    /// Who came to the other server before is there to be seen.
    pub(crate) may_miss_from: u64,
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
    /// The last opening by the engine.
    pub(crate) opening: Option<Opening>,
    pub(crate) refused: u64,
    pub(crate) parked: u64,
}

pub(crate) const ONE_WRITER: &str = "one writer";
pub(crate) const NOTHING_LOST: &str = "nothing acknowledged is lost";
pub(crate) const STATUS_IS_TRUE: &str = "lossless is said only of what is";
pub(crate) const HOLDS_END: &str = "every hold ends";
pub(crate) const NOTHING_LEFT: &str = "nothing is left over";
pub(crate) const ON_RECORD: &str = "the record is what the machine allows";
pub(crate) const RESTS: &str = "a migration that rests is where its status says";
pub(crate) const GOES_THROUGH: &str = "what nobody disturbs goes through";
pub(crate) const IT_ENDS: &str = "an operator ends it once everything is back";

/// Every promise, in the order of the report.
pub(crate) const PROMISES: [&str; 9] = [
    ONE_WRITER,
    NOTHING_LOST,
    STATUS_IS_TRUE,
    HOLDS_END,
    NOTHING_LEFT,
    ON_RECORD,
    RESTS,
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

    /// The engine has opened a server: the other one accepts nothing, nor does another primary of the
    /// same system serve.
    pub(crate) fn opened(&mut self, side: Side, epoch: u64) {
        let may_miss_from = self.task.may_miss_from(epoch);
        self.ledger.opening = Some(Opening {
            side,
            may_miss_from,
        });
        let other = other_than(side);
        let second = MOVING.into_iter().find(|database| {
            self.server(side).accepts_writes(database)
                && self.server(other).accepts_writes(database)
        });
        if let Some(database) = second.filter(|_| !self.is_excused()) {
            let what = format!(
                "{database} of the {} is opened while the {} accepts writes",
                side_name(side),
                side_name(other)
            );
            self.ledger.violated(ONE_WRITER, what);
        }
        if side == Side::Target && self.bystander.is_seen_as_primary(may_miss_from) {
            let what = "the target is opened while another standby is a primary since before";
            self.ledger.violated(ONE_WRITER, what);
        }
        self.look_for_what_is_missing(side, may_miss_from);
    }

    /// Whatever was acknowledged by the other server before this task began is on the one that is opened,
    /// or an operator has given it up.
    fn look_for_what_is_missing(&mut self, side: Side, may_miss_from: u64) {
        if self.promoted_by_hand || !self.task.moves_writers() || self.task.is_given_up() {
            return;
        }
        let tables = &self.server(side).tables;
        let lacks = |row: &Row| {
            let rows = tables.rows.get(row.database);
            rows.is_none_or(|rows| !rows.contains(&row.id))
        };
        let mut rows = self.ledger.rows.iter();
        let missing = rows.find(|row| {
            row.side != side && row.acknowledged && row.at < may_miss_from && lacks(row)
        });
        let what = missing.map(|row| {
            format!(
                "the {} is opened without row {} of {}, which {:?} wrote on the {}",
                side_name(side),
                row.id,
                row.database,
                row.by,
                side_name(row.side)
            )
        });
        if let Some(what) = what {
            self.ledger.violated(NOTHING_LOST, what);
        }
    }

    /// At the instant of an application's commit the other server accepts none.
    fn look_for_another_writer(&mut self, row: &Row) {
        let other = other_than(row.side);
        if !self.server(other).accepts_writes(row.database) || self.is_excused() {
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

    /// Whether somebody else made the second writer, when no look could see that any more.
    fn is_excused(&self) -> bool {
        let may_miss_from = self.ledger.opening.map_or(0, |it| it.may_miss_from);
        let mut lifted = self.ledger.lifted.iter();
        self.promoted_by_hand || lifted.any(|(_, at)| *at >= may_miss_from)
    }

    /// Whether nobody could see it any more: the source was being opened, and the target is watched by
    /// nobody since.
    pub(crate) fn is_behind_the_last_look(&self, row: &Row) -> bool {
        let over = self.over_at.is_some_and(|over| row.at + NOTICED >= over);
        let is_left = self
            .ledger
            .opening
            .is_some_and(|opening| opening.side == Side::Source && row.at >= opening.may_miss_from);
        over || (row.side == Side::Target && is_left)
    }

    pub(crate) fn acknowledged(&mut self, index: usize) {
        if let Some(row) = self.ledger.rows.get_mut(index) {
            row.acknowledged = true;
        }
    }
}

fn other_than(side: Side) -> Side {
    match side {
        Side::Source => Side::Target,
        Side::Target => Side::Source,
    }
}

pub(crate) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Target => "target",
    }
}

/// Between two looks of the run's, with what is on its way.
const NOTICED: u64 = 60_000;
