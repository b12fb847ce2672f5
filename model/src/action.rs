//! What can happen next.

use pointsman_cutover::machine::{Event, Side};

use crate::{process::Who, reach::Outcome, server::Slots};

/// One thing that happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// A process does the next thing of what it owes.
    Engine(Who, Outcome),
    /// A process takes over what the journal has.
    TakesOver,
    EngineCrashes(Who),
    /// An operator asks for something.
    Asks(Event),
    /// An alarm fires, soon after the last rollback was undone or long after.
    AlarmFires {
        soon: bool,
    },
    /// The watch of the bake sees the reverse stream lapse or break, what others did on the source, or
    /// that the target is down or back.
    Watches(Event),
    /// An operator sends the writers of a bake to the source by force, or back to the target; or those of a
    /// migration that is ready elsewhere, or back to the source.
    MovesRoutes(Side),
    ServerCrashes(Side),
    /// A server that is down never comes back.
    ServerIsGone(Side),
    ServerComesBack(Side),
    /// An operator takes a server down for good.
    OperatorTakesDown(Side),
    /// An operator closes a server that a stranger opened.
    OperatorCloses(Side),
    /// The target replays all of the source's WAL.
    Replays,
    /// The source applies all that the slots of the target hold.
    Delivers,
    /// A client's commit is acknowledged.
    Commits(Side),
    /// The same on the target, in a table that the stream leaves out.
    CommitsInGap,
    /// A stranger opens a closed server.
    StrangerOpens(Side),
    /// A stranger's commit is acknowledged by a closed server.
    StrangerWrites(Side),
    StreamIsHurt(Slots),
    /// A message arrives.
    Arrives(usize),
    /// A message is lost.
    IsLost(usize),
    /// The target's clock passes a deadline.
    DeadlinePasses,
    HoldExpires,
    ApiPromotes,
    ApiSaysFailed,
}

/// What operators can ask for.
pub(crate) const REQUESTS: [Event; 16] = [
    Event::StartRequested,
    Event::SwitchRequested,
    Event::AbortRequested,
    Event::RollbackRequested,
    Event::LossyRollbackRequested,
    Event::RollbackWithdrawn,
    Event::SourceWritesAccepted,
    Event::CompleteRequested,
    Event::CompleteWithoutSourceRequested,
    Event::CancelRequested,
    Event::RetryChosen,
    Event::RetryWithoutSourceChosen,
    Event::OpenSourceChosen,
    Event::OpenSourceWithoutTargetChosen,
    Event::WaitChosen,
    Event::AbandonRequested,
];

/// Everything that could happen in some world.
pub(crate) fn all() -> Vec<Action> {
    use Action as A;
    let sides = [Side::Source, Side::Target];
    let mut all = vec![
        A::Replays,
        A::Delivers,
        A::CommitsInGap,
        A::DeadlinePasses,
        A::HoldExpires,
        A::ApiPromotes,
        A::ApiSaysFailed,
        A::TakesOver,
        A::AlarmFires { soon: true },
        A::AlarmFires { soon: false },
        A::Watches(Event::ReverseStreamLapsed),
        A::Watches(Event::ReverseStreamBroke),
        A::Watches(Event::SourceFenceBroken),
        A::Watches(Event::TargetDown),
        A::Watches(Event::TargetBack),
        A::StreamIsHurt(Slots::Gap),
        A::StreamIsHurt(Slots::Lost),
    ];
    for who in [Who::Leader, Who::Stale] {
        all.push(A::EngineCrashes(who));
        all.extend(Outcome::ALL.map(|outcome| A::Engine(who, outcome)));
    }
    for side in sides {
        all.extend([
            A::ServerCrashes(side),
            A::ServerIsGone(side),
            A::ServerComesBack(side),
            A::OperatorTakesDown(side),
            A::OperatorCloses(side),
            A::MovesRoutes(side),
            A::Commits(side),
            A::StrangerOpens(side),
            A::StrangerWrites(side),
        ]);
    }
    for slot in 0..2 {
        all.extend([A::Arrives(slot), A::IsLost(slot)]);
    }
    all.extend(REQUESTS.map(A::Asks));
    all
}
