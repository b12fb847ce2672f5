use serde::{Deserialize, Serialize};

/// What happened. One event changes the machine once. The journal keeps it, so a name stays.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    // Requests of an operator.
    StartRequested,
    SwitchRequested,
    /// Before the point of no return only.
    AbortRequested,
    RollbackRequested,
    /// A rollback whose counted loss the operator accepts.
    LossyRollbackRequested,
    /// A rollback that waits for the reverse stream is given up: by an operator, because it has
    /// waited too long, or because only a person can end what keeps the stream from being made.
    RollbackWithdrawn,
    /// An operator gives up what others did on the source in the bake.
    SourceWritesAccepted,
    CompleteRequested,
    /// A completion by an operator who asserts that the source is down for good.
    CompleteWithoutSourceRequested,
    CancelRequested,
    /// Try the step again.
    RetryChosen,
    /// The same, by an operator who asserts that the source is down for good.
    RetryWithoutSourceChosen,
    OpenSourceChosen,
    /// The same, by an operator who asserts that the target is down for good.
    OpenSourceWithoutTargetChosen,
    /// Wait longer for a managed promotion that did not come through in its time.
    WaitChosen,
    /// An operator gives up what the migration has on both servers: its record ends.
    AbandonRequested,

    // What came of the command that was owed.
    /// It succeeded, with its proof.
    Done,
    /// The undo succeeded, and readers of the target are served elsewhere until the target
    /// lets connections in again.
    DoneReadersMoved,
    /// It succeeded, and it is an API that promotes the target: a managed promotion follows.
    DoneManaged,
    /// What it waits for has not happened, and nothing was done.
    NotYet,
    /// The API proves that it never received the request to promote, and everything that has
    /// to hold before one holds again.
    NotReceived,
    /// The target is proven to exist no more.
    TargetGone,
    /// The undo of a rollback succeeded with the source: an operator asserts that the target is
    /// down, and it does not answer.
    SourceOpened,
    /// It failed, and what it did can be taken back.
    Failed,
    /// A server or the store did not answer, and the command has time for another try.
    Unanswered,
    /// It failed after the intent to promote, and the target is proven to be a closed
    /// primary without sessions on which nobody wrote (S3 b of `docs/safety.md`).
    FailedTargetUnwritten,
    /// It failed, and no server can be proven to be the only writer.
    Unprovable,
    /// The reverse stream delivers no more.
    ReverseStreamBroke,

    // What a watcher saw.
    AlarmFired,
    /// The reverse stream has to be proven anew.
    ReverseStreamLapsed,
    /// The slots of the reverse stream keep more WAL on the target than they may: they are dropped.
    SlotsGivenUp,
    /// Somebody moved the routes by hand, put another fence record into the source, or promoted another
    /// server of the system: nothing is touched before an operator decides.
    MovedByHand,
    /// Somebody lifted the fence of the source that was left, or wrote on it.
    SourceFenceBroken,
    /// The target of a bake serves nobody, by its own word or by that of the engine and of sidecars:
    /// new connections are held.
    TargetDown,
    /// It serves again as the writer that it was, and new connections are sent there.
    TargetBack,
    /// A new process took over.
    Restarted,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 36] = [
        Self::StartRequested,
        Self::SwitchRequested,
        Self::AbortRequested,
        Self::RollbackRequested,
        Self::LossyRollbackRequested,
        Self::RollbackWithdrawn,
        Self::SourceWritesAccepted,
        Self::CompleteRequested,
        Self::CompleteWithoutSourceRequested,
        Self::CancelRequested,
        Self::RetryChosen,
        Self::RetryWithoutSourceChosen,
        Self::OpenSourceChosen,
        Self::OpenSourceWithoutTargetChosen,
        Self::WaitChosen,
        Self::AbandonRequested,
        Self::Done,
        Self::DoneReadersMoved,
        Self::DoneManaged,
        Self::NotYet,
        Self::NotReceived,
        Self::TargetGone,
        Self::SourceOpened,
        Self::Failed,
        Self::Unanswered,
        Self::FailedTargetUnwritten,
        Self::Unprovable,
        Self::ReverseStreamBroke,
        Self::AlarmFired,
        Self::ReverseStreamLapsed,
        Self::SlotsGivenUp,
        Self::MovedByHand,
        Self::SourceFenceBroken,
        Self::TargetDown,
        Self::TargetBack,
        Self::Restarted,
    ];
}
