//! What must hold before a switch, for servers of every provider.
//!
//! - What cannot be read is [`Outcome::Unknown`], which counts as the check's severity
//!   and never as a pass.
//! - A check that guards only the lossless way back warns instead of blocking once the
//!   operator accepts the loss.
//!
//! The checks in this folder need no server. Those that ask one are the provider's, each
//! with its query, its judgement and its messages in one file; the composition root joins
//! both into a [`CheckSet`]. `docs/preflight.md` lists all of them for operators.

mod check;
mod context;
mod fleet_membership;
mod fleet_target_reachable;
mod journal_room;
mod judgement;
mod readers_after_the_switch;
mod refusals_while_promoting;
mod report;
mod set;

pub use check::{Check, CheckSpec};
pub use context::{CheckContext, Moment};
pub(crate) use judgement::count;
pub use judgement::{Grade, Judgement};
pub use report::{Finding, Outcome, Report, Severity, Verdict};
pub use set::CheckSet;
