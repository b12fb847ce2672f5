//! What is kept, and whether it may be served; pure.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    contact::{ClockWentBack, Moment},
    kept::Kept,
};

/// What was heard of the control plane.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// It serves, and this is everything that the sidecar is to have; it was so when it was asked.
    Current { kept: Arc<Kept>, asked: Moment },
    /// An established stream has ended. It is not tried again yet.
    Ended,
    /// It could not be reached, or did not serve.
    Unreachable,
    /// It answers, and nothing may be kept: it does not serve this sidecar, or not what can be kept.
    Withdrawn(String),
}

/// What is to be done with the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum FileChange {
    None,
    Write,
    Remove,
}

/// Whether something is served to sidecars.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Serve(Arc<Kept>),
    Silent(Why),
}

/// Why nothing is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Why {
    /// Nobody has tried yet, or is trying again.
    Trying,
    Reachable,
    Withdrawn(String),
    NothingKept,
    TooOld {
        age: Duration,
    },
    ClockWentBack,
}

/// Decides.
#[derive(Debug)]
pub(super) struct Keeper {
    /// From the last contact with the control plane on, how long what is kept may be served.
    max_age: Duration,
    upstream: Upstream,
    kept: Option<(Arc<Kept>, Moment)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Upstream {
    Trying,
    Reachable,
    Unreachable,
    Withdrawn(String),
}

impl Keeper {
    /// `kept` is what a former process has kept, with its last contact.
    pub(super) fn new(max_age: Duration, kept: Option<(Kept, Moment)>) -> Self {
        Self {
            max_age,
            upstream: Upstream::Trying,
            kept: kept.map(|(kept, contact)| (Arc::new(kept), contact)),
        }
    }

    /// Takes in what was heard.
    pub(super) fn hear(&mut self, news: News) -> FileChange {
        match news {
            News::Current { kept, asked } => {
                self.upstream = Upstream::Reachable;
                let former = self.kept.replace((Arc::clone(&kept), asked));
                let changed =
                    former.is_none_or(|(former, contact)| contact != asked || former != kept);
                match changed {
                    true => FileChange::Write,
                    false => FileChange::None,
                }
            }
            News::Ended => {
                self.upstream = Upstream::Trying;
                FileChange::None
            }
            News::Unreachable => {
                // What was withdrawn stays so until the control plane says otherwise.
                if !matches!(self.upstream, Upstream::Withdrawn(_)) {
                    self.upstream = Upstream::Unreachable;
                }
                FileChange::None
            }
            News::Withdrawn(reason) => {
                self.upstream = Upstream::Withdrawn(reason);
                self.kept = None;
                FileChange::Remove
            }
        }
    }

    /// Whether what is kept is served at `now`.
    pub(super) fn verdict(&self, now: Moment) -> Verdict {
        match &self.upstream {
            Upstream::Trying => return Verdict::Silent(Why::Trying),
            Upstream::Reachable => return Verdict::Silent(Why::Reachable),
            Upstream::Withdrawn(reason) => {
                return Verdict::Silent(Why::Withdrawn(reason.clone()));
            }
            Upstream::Unreachable => {}
        }
        let Some((kept, contact)) = &self.kept else {
            return Verdict::Silent(Why::NothingKept);
        };
        match contact.age(now) {
            Ok(age) if age <= self.max_age => Verdict::Serve(Arc::clone(kept)),
            Ok(age) => Verdict::Silent(Why::TooOld { age }),
            Err(ClockWentBack) => Verdict::Silent(Why::ClockWentBack),
        }
    }

    /// In how long what is served at `now` becomes too old; `None` while nothing is served.
    pub(super) fn expires_in(&self, now: Moment) -> Option<Duration> {
        let Verdict::Serve(_) = self.verdict(now) else {
            return None;
        };
        let (_, contact) = self.kept.as_ref()?;
        Some(self.max_age.saturating_sub(contact.age(now).ok()?))
    }

    /// What is kept, with the last contact.
    pub(super) fn kept(&self) -> Option<&(Arc<Kept>, Moment)> {
        self.kept.as_ref()
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trying => f.write_str("the control plane is being tried"),
            Self::Reachable => f.write_str("the control plane serves"),
            Self::Withdrawn(reason) => {
                write!(f, "the control plane answers, and nothing is kept: {reason}")
            }
            Self::NothingKept => f.write_str(
                "the control plane does not serve, and nothing was kept yet: nobody can be served",
            ),
            Self::TooOld { age } => write!(
                f,
                "the control plane does not serve, and was heard last {} s ago, longer than --max-age: \
                 sidecars that start now wait for it",
                age.as_secs()
            ),
            Self::ClockWentBack => f.write_str(
                "the control plane does not serve, and this machine's clock shows a time before the last \
                 contact: nobody knows how old what is kept is",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
