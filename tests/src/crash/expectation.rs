//! Where each cell is to settle, written down beforehand.

use super::{
    cell::{Cell, Fault, Run},
    wire::Point,
};

/// The states in which `cell` may settle. More than one stands where the moment at which the engine
/// meets the fault decides, and both are right.
pub(super) fn expected(cell: &Cell) -> &'static [&'static str] {
    let run = cell.place.run;
    let died_with_the_process = cell.place.number == 1 && cell.point == Point::Before;
    match run {
        Run::Start | Run::Cancel if cell.fault == Fault::Killed && died_with_the_process => {
            before(run)
        }
        Run::Start => start(cell),
        Run::Switch => switch(cell),
        Run::Rollback => rollback(cell),
        Run::Complete => complete(cell),
        Run::Cancel => cancel(cell),
    }
}

/// Where `run` begins: the request died with the process.
fn before(run: Run) -> &'static [&'static str] {
    match run {
        Run::Start => &["planned"],
        Run::Switch | Run::Cancel => &["prepared"],
        Run::Rollback | Run::Complete => &["baking"],
    }
}

/// A server that is away makes it fail, and it can be asked for again.
fn start(cell: &Cell) -> &'static [&'static str] {
    match cell.fault {
        Fault::Killed | Fault::SidecarCut => &["prepared"],
        Fault::SourceCrash | Fault::TargetCrash | Fault::SessionsCut | Fault::AnswerLost => {
            &["planned", "prepared"]
        }
    }
}

/// The source serves on until the intent to promote is written, the target serves from there.
fn switch(cell: &Cell) -> &'static [&'static str] {
    if cell.intent_is_written() {
        return match cell.fault {
            Fault::SourceCrash | Fault::TargetCrash => &["baking", "needs_operator"],
            Fault::Killed | Fault::SidecarCut | Fault::SessionsCut | Fault::AnswerLost => {
                &["baking"]
            }
        };
    }
    match cell.fault {
        Fault::Killed if cell.place.number == 1 && cell.point == Point::Before => {
            before(Run::Switch)
        }
        Fault::Killed | Fault::SourceCrash | Fault::TargetCrash => &["undone"],
        // Its silence is a veto until the hold is acknowledged, and none afterwards.
        Fault::SidecarCut if cell.place.number > HOLD_PUBLISHED => &["baking"],
        Fault::SidecarCut => &["undone"],
        // Sessions are opened anew where a step begins with none.
        Fault::SessionsCut => &["undone", "baking"],
        // The journal tries again. What a step publishes is tried with the step.
        Fault::AnswerLost => &["baking", "undone"],
    }
}

/// The target serves on until the intent to flip is written, the source serves from there. A sidecar
/// that is silent is named, and is no veto.
fn rollback(cell: &Cell) -> &'static [&'static str] {
    if cell.intent_is_written() {
        return match cell.fault {
            Fault::SourceCrash | Fault::TargetCrash => &["rolled_back", "needs_operator"],
            Fault::Killed | Fault::SidecarCut | Fault::SessionsCut | Fault::AnswerLost => {
                &["rolled_back"]
            }
        };
    }
    match cell.fault {
        Fault::Killed | Fault::SourceCrash | Fault::TargetCrash => &["baking"],
        Fault::SidecarCut => &["rolled_back"],
        Fault::SessionsCut | Fault::AnswerLost => &["baking", "rolled_back"],
    }
}

/// A server that is away makes it fail, and the bake goes on.
fn complete(cell: &Cell) -> &'static [&'static str] {
    match cell.fault {
        Fault::Killed if cell.place.number == 1 && cell.point == Point::Before => {
            before(Run::Complete)
        }
        Fault::Killed | Fault::SidecarCut => &["completed"],
        Fault::SourceCrash | Fault::TargetCrash | Fault::SessionsCut | Fault::AnswerLost => {
            &["baking", "completed"]
        }
    }
}

/// A server that is away makes it fail; some of what `start` made may be gone by then.
fn cancel(cell: &Cell) -> &'static [&'static str] {
    match cell.fault {
        Fault::Killed | Fault::SidecarCut => &["cancelled"],
        Fault::SourceCrash | Fault::TargetCrash | Fault::SessionsCut | Fault::AnswerLost => {
            &["planned", "cancelled"]
        }
    }
}

/// The write by which a switch publishes its hold.
const HOLD_PUBLISHED: usize = 3;
