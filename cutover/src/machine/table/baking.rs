use crate::machine::{
    direction::Direction,
    event::Event as E,
    state::{State as S, StreamState as Stream},
    step::Step,
};

pub(super) fn next(stream: Stream, event: E) -> Option<S> {
    let here = S::Baking { stream };
    match event {
        E::Done => armed(stream),
        E::Failed | E::Unanswered => match stream {
            // It is armed again while the target serves.
            Stream::Arming | Stream::ArmingForRollback => Some(here),
            Stream::Proven | Stream::Broken => None,
        },
        E::RollbackRequested => Some(rollback(stream)),
        // The stream is made as before.
        E::RollbackWithdrawn => stream.rollback_waits().then_some(baking(Stream::Arming)),
        E::AlarmFired => alarm(stream),
        E::LossyRollbackRequested => Some(S::first_step(Direction::Reverse)),
        E::CompleteRequested | E::CompleteWithoutSourceRequested => {
            (!stream.rollback_waits()).then_some(S::Completing)
        }
        E::ReverseStreamBroke => broke(stream),
        E::ReverseStreamLapsed => match stream {
            Stream::Proven | Stream::Broken => Some(baking(Stream::Arming)),
            Stream::Arming | Stream::ArmingForRollback => None,
        },
        // It looks whether the target answers; where it does, nothing is changed.
        E::OpenSourceWithoutTargetChosen => Some(S::Undoing {
            direction: Direction::Reverse,
            step: Step::Prepare,
        }),
        E::MovedByHand => Some(S::NeedsOperator {
            direction: Direction::Reverse,
            step: Step::Prepare,
        }),
        // It is shut anew. A rollback that waits would no longer lose nothing.
        E::SourceFenceBroken => Some(baking(Stream::Arming)),
        // What a rollback waits for cannot come any more.
        E::SlotsGivenUp => Some(baking(Stream::Broken)),
        // Who is held, and until when, stands beside the state.
        E::TargetDown | E::TargetBack | E::SourceWritesAccepted | E::Restarted => Some(here),
        E::AbandonRequested => Some(S::Abandoned),
        E::StartRequested
        | E::SwitchRequested
        | E::AbortRequested
        | E::CancelRequested
        | E::RetryChosen
        | E::RetryWithoutSourceChosen
        | E::OpenSourceChosen
        | E::WaitChosen
        | E::DoneReadersMoved
        | E::DoneManaged
        | E::NotYet
        | E::NotReceived
        | E::TargetGone
        | E::FailedTargetUnwritten
        | E::SourceOpened
        | E::Unprovable => None,
    }
}

fn baking(stream: Stream) -> S {
    S::Baking { stream }
}

fn armed(stream: Stream) -> Option<S> {
    match stream {
        Stream::Arming => Some(baking(Stream::Proven)),
        Stream::ArmingForRollback => Some(S::first_step(Direction::Reverse)),
        Stream::Proven | Stream::Broken => None,
    }
}

/// Until the stream is proven a rollback first arms, while the target serves. Over a broken one
/// the step `CatchUp` counts on the closed target, and undoes the switch when going on would
/// lose what was not accepted.
fn rollback(stream: Stream) -> S {
    match stream {
        Stream::Arming | Stream::ArmingForRollback => baking(Stream::ArmingForRollback),
        Stream::Proven | Stream::Broken => S::first_step(Direction::Reverse),
    }
}

/// An alarm goes back by itself as long as that loses nothing, and is not listened to while a
/// rollback waits.
fn alarm(stream: Stream) -> Option<S> {
    match stream {
        Stream::Arming | Stream::Proven => Some(rollback(stream)),
        Stream::Broken => Some(baking(stream)),
        Stream::ArmingForRollback => None,
    }
}

fn broke(stream: Stream) -> Option<S> {
    match stream {
        Stream::Arming | Stream::Proven => Some(baking(Stream::Broken)),
        // The stream that the rollback waits for cannot come: it counts what it would lose.
        Stream::ArmingForRollback => Some(S::first_step(Direction::Reverse)),
        Stream::Broken => None,
    }
}
