//! What a gate is told to do.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

/// What the gate does with connections, those that are open included.
#[derive(Clone, Debug, Default)]
pub(super) enum Mode {
    #[default]
    Pass,
    /// Holds a connection from the chunk on in which its client sends `pattern`.
    HoldRequest(Arc<[u8]>),
    /// Passes the chunk in which the client sends `pattern`, and from then on holds what
    /// the server answers.
    HoldAnswer(Arc<[u8]>),
    /// Swallows everything, in both directions.
    BlackHole,
    /// Closes every connection, new ones at once.
    Severed,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Controls {
    pub(super) mode: Mode,
    /// Connections opened before a change of this are closed.
    pub(super) cuts: u64,
    /// What a client says comes late, by up to so much.
    pub(super) delay: Duration,
}

/// Returns when a connection that was opened after `cuts` cuts may live no longer: it is cut,
/// or it has been in a black hole, in which bytes were lost, and is in none any more.
pub(super) async fn cut(mut controls: watch::Receiver<Controls>, cuts: u64) {
    let mut swallowed = false;
    loop {
        let (now, mode) = {
            let controls = controls.borrow_and_update();
            (controls.cuts, controls.mode.clone())
        };
        if now != cuts {
            return;
        }
        match mode {
            Mode::Severed => return,
            Mode::BlackHole => swallowed = true,
            Mode::Pass | Mode::HoldRequest(_) | Mode::HoldAnswer(_) if swallowed => return,
            Mode::Pass | Mode::HoldRequest(_) | Mode::HoldAnswer(_) => {}
        }
        if controls.changed().await.is_err() {
            return;
        }
    }
}
