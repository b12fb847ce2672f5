//! How much may go wrong in one run of the model.

use serde::Serialize;

/// What is left to happen, each at most so many times.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Troubles {
    /// Of all the following but alarms and requests.
    pub together: u8,
    pub engine_crashes: u8,
    pub source_crashes: u8,
    pub target_crashes: u8,
    /// A server that is down never comes back.
    pub servers_gone: u8,
    /// A process takes over while the former one lives.
    pub takeovers: u8,
    /// A message, an answer or a write is lost, late or refused.
    pub losses: u8,
    /// A stranger opens a closed server, or writes on it.
    pub strangers: u8,
    /// The reverse stream leaves a table out, or loses its slots.
    pub stream_troubles: u8,
    pub alarms: u8,
    /// Of operators, the first switch included.
    pub requests: u8,
}

/// An operator who may ask for anything, any number of times.
pub(crate) const UNLIMITED: u8 = 7;

impl Troubles {
    /// Nothing goes wrong any more, and an operator decides.
    pub fn calm() -> Self {
        Self {
            together: 0,
            engine_crashes: 0,
            source_crashes: 0,
            target_crashes: 0,
            servers_gone: 0,
            takeovers: 0,
            losses: 0,
            strangers: 0,
            stream_troubles: 0,
            alarms: 0,
            requests: UNLIMITED,
        }
    }

    /// A sample for a test that takes seconds.
    pub fn small() -> Self {
        Self {
            together: 2,
            engine_crashes: 1,
            source_crashes: 0,
            target_crashes: 1,
            servers_gone: 0,
            takeovers: 0,
            losses: 1,
            strangers: 1,
            stream_troubles: 0,
            alarms: 1,
            requests: 2,
        }
    }

    /// What a deliberate fault is looked for in that the sample does not find.
    pub fn medium() -> Self {
        Self {
            source_crashes: 1,
            takeovers: 1,
            stream_troubles: 1,
            requests: 3,
            ..Self::small()
        }
    }

    /// What `make model` goes through.
    pub fn full() -> Self {
        Self {
            together: 2,
            engine_crashes: 1,
            source_crashes: 1,
            target_crashes: 1,
            servers_gone: 1,
            takeovers: 1,
            losses: 2,
            strangers: 1,
            stream_troubles: 1,
            alarms: 1,
            requests: 2,
        }
    }

    pub(crate) fn fields(self) -> [u8; 11] {
        [
            self.together,
            self.engine_crashes,
            self.source_crashes,
            self.target_crashes,
            self.servers_gone,
            self.takeovers,
            self.losses,
            self.strangers,
            self.stream_troubles,
            self.alarms,
            self.requests,
        ]
    }
}

impl Troubles {
    /// Takes one trouble of a kind; `None` when none is left.
    pub(crate) fn spend(&mut self, kind: fn(&mut Self) -> &mut u8) -> Option<()> {
        self.together = self.together.checked_sub(1)?;
        let left = kind(self);
        *left = left.checked_sub(1)?;
        self.forget_what_cannot_come();
        Some(())
    }

    /// More of a kind than may come together tells no worlds apart.
    fn forget_what_cannot_come(&mut self) {
        for left in [
            &mut self.engine_crashes,
            &mut self.source_crashes,
            &mut self.target_crashes,
            &mut self.servers_gone,
            &mut self.takeovers,
            &mut self.losses,
            &mut self.strangers,
            &mut self.stream_troubles,
        ] {
            *left = (*left).min(self.together);
        }
    }

    /// Takes one request of an operator.
    pub(crate) fn ask(&mut self) -> Option<()> {
        if self.requests < UNLIMITED {
            self.requests = self.requests.checked_sub(1)?;
        }
        Some(())
    }

    /// Takes one alarm.
    pub(crate) fn fire(&mut self) -> Option<()> {
        self.alarms = self.alarms.checked_sub(1)?;
        Some(())
    }
}

/// How the target is promoted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promotion {
    /// By one SQL statement whose conditions the target evaluates.
    Guarded,
    /// By an API that evaluates none.
    Managed,
}
