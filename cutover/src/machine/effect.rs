use super::{command::Command, direction::Direction};

/// What the driver does about an event, apart from running the next command.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Effect {
    /// Forget what the former attempt learned, and count from now on.
    BeginSwitch(Direction),
    /// Open new sessions when they are needed next. Under a grown epoch that ends what the
    /// former ones still have under way.
    ForgetSessions,
    /// Keep the event's reason; `status` shows it as the cause of the state.
    RememberCause,
    /// What made the migration stand still is over.
    ForgetCause,
    /// Record the event and the intent of the command that it leads to.
    Journal {
        durability: Durability,
        intent: Option<Command>,
    },
    /// Record this once for as long as it stays so.
    Remark(Remark),
    /// Run the same command again after a pause.
    TryAgain,
    /// Count what going back would lose now.
    CountRisk,
    /// Publish the hold of an outage.
    HoldWriters,
    /// The servers are free for another migration.
    ReleaseLease,
}

/// When a journal entry is on the disk.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Durability {
    /// Before anything else is done.
    Now,
    /// Together with the next entry that is durable, in order
    /// (`docs/decisions/0002-intents-that-are-durable.md`).
    WithTheNext,
}

/// What changes nothing and is worth an entry.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Remark {
    /// The reverse stream could not be made or proven; it is tried again.
    NotArmed,
    /// An alarm fires while the last rollback's failure makes it wait.
    AlarmTooEarly,
    /// An alarm fires and does not go back by itself: that would lose writes.
    AlarmWouldLose,
    /// An alarm fires and does not go back by itself: somebody else did something on the source.
    AlarmSourceDisturbed,
    /// How far a managed promotion is.
    PromotionObserved,
}
