//! A worker's answer to a command, and the common answer of all workers.

use anyhow::{Context, bail};

/// Times in nanoseconds.
#[derive(Debug)]
pub(super) enum Reply {
    /// Every connection has its content.
    Synced {
        began: u64,
        ended: u64,
    },
    /// New content is awaited.
    Ready,
    /// When each of the connections that count got the new content.
    Received(Vec<u64>),
    Stalled,
    Resumed,
    Stuck,
}

impl Reply {
    /// The common answer of all workers, as a line.
    ///
    /// # Errors
    /// They do not answer alike, or there are none.
    pub(super) fn by_all(all: Vec<Self>) -> anyhow::Result<String> {
        let joined = all.into_iter().map(Ok).reduce(|a, b| a?.and(b?));
        Ok(match joined.context("nobody works")?? {
            Self::Synced { began, ended } => format!("synced {began} {ended}"),
            Self::Ready => "ready".to_owned(),
            Self::Received(mut at) => {
                at.sort_unstable();
                let last = at.last().context("a round of no connections")?;
                let (median, p99) = (at[at.len() / 2], at[at.len() * 99 / 100]);
                format!("received {median} {p99} {last}")
            }
            Self::Stalled => "stalled".to_owned(),
            Self::Resumed => "resumed".to_owned(),
            Self::Stuck => "stuck".to_owned(),
        })
    }

    fn and(self, other: Self) -> anyhow::Result<Self> {
        Ok(match (self, other) {
            (Self::Synced { began, ended }, Self::Synced { began: b, ended: e }) => Self::Synced {
                began: began.min(b),
                ended: ended.max(e),
            },
            (Self::Received(mut at), Self::Received(others)) => {
                at.extend(others);
                Self::Received(at)
            }
            (Self::Ready, Self::Ready) => Self::Ready,
            (Self::Stalled, Self::Stalled) => Self::Stalled,
            (Self::Resumed, Self::Resumed) => Self::Resumed,
            (Self::Stuck, Self::Stuck) => Self::Stuck,
            (a, b) => bail!("one worker says {a:?}, another {b:?}"),
        })
    }
}
