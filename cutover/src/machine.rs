//! The switch as a pure machine. An event and the moment at which it happened lead from one
//! [`Machine`] to the next and say what the driver has to do about it. No I/O, no clock and
//! no log line in here: time and the world enter as events.

mod alarms;
mod apply;
mod assertion;
mod change;
mod command;
mod data;
mod deadline;
mod direction;
mod effect;
mod epoch;
mod event;
mod left_source;
mod state;
mod step;
mod stream;
mod table;

pub use alarms::AlarmBackoff;
pub use apply::Transition;
pub use assertion::Assertion;
pub use command::{Budget, Command};
pub use data::{FenceProof, Machine, ReaderRoutes};
pub use deadline::PromotionDeadline;
pub use direction::{Direction, Side};
pub use effect::{Durability, Effect, Remark};
pub use epoch::supersedes;
pub use event::Event;
pub use left_source::LeftSource;
pub use state::{PromotionStage, State, StreamState};
pub use step::Step;
pub use stream::StreamWatch;
pub use table::NotPossible;

#[cfg(test)]
mod tests;
