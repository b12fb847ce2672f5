//! Keeps one migration driven as long as the process lives.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use pointsman_catalog::Chain;
use tokio::sync::watch;
use tracing::error;

use super::{
    driver::{Driver, Handle, Inbox, Means, Origin, Recorded},
    error::DriveError,
    status::{BakeView, Status},
};
use crate::{journal::JournalError, migration::Migration};

/// Drives one migration, and takes it up again when its driver ended by a failure: as a process
/// does that comes after one that died. Until then its status says why nobody drives it.
#[derive(Debug)]
pub(super) struct Supervisor {
    means: Means,
    name: String,
    inbox: Inbox,
    shown: watch::Sender<Arc<Status>>,
}

/// Why a migration has no driver now.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error("its record cannot be read")]
    Unread(#[source] JournalError),
    #[error("a fault of this program: {0}")]
    Panicked(String),
}

impl Supervisor {
    /// Of `migration`, which has no driver yet.
    pub(super) fn new(means: Means, migration: &Migration) -> Self {
        let status = Status::new(migration, Arc::default(), &BakeView::default());
        Self {
            means,
            name: migration.name.clone(),
            inbox: Inbox::new(),
            shown: watch::Sender::new(Arc::new(status)),
        }
    }

    pub(super) fn handle(&self) -> Handle {
        Handle {
            requests: self.inbox.sender(),
            status: self.shown.subscribe(),
        }
    }

    /// Returns when the engine stops, or another leader drives the migration.
    pub(super) async fn run(mut self, read: Result<Recorded, JournalError>, origin: Origin) {
        let clock = Arc::clone(&self.means.ports.clock);
        let mut read = read;
        let mut origin = origin;
        let mut wait = FIRST_WAIT;
        loop {
            let began = clock.monotonic();
            let ended = match read {
                Ok(recorded) => self.drive(recorded, origin).await,
                Err(unread) => Err(Failure::Unread(unread)),
            };
            let Err(failure) = ended else { return };
            if clock.elapsed(began) > LASTED {
                wait = FIRST_WAIT;
            }
            self.show(&failure, wait);
            if failure.is_final() {
                return;
            }
            tokio::select! {
                () = self.means.stop.cancelled() => return,
                () = clock.sleep(wait) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
            origin = Origin::FormerDriver;
            read = Recorded::read(&self.means.journal, &self.name).await;
        }
    }

    /// A panic of the driver is a failure as any other: what it held is dropped with it.
    async fn drive(&mut self, recorded: Recorded, origin: Origin) -> Result<(), Failure> {
        let shown = self.shown.clone();
        let mut driver = Driver::new(&self.means, recorded, origin, &mut self.inbox, shown);
        match AssertUnwindSafe(driver.drive()).catch_unwind().await {
            Ok(ended) => Ok(ended?),
            Err(panic) => Err(Failure::Panicked(said(panic.as_ref()))),
        }
    }

    fn show(&self, failure: &Failure, wait: Duration) {
        let then = if failure.is_final() {
            "it is left alone".to_owned()
        } else {
            format!("it is taken up again after {wait:?}")
        };
        let cause = format!("{}; {then}", Chain(failure));
        error!(migration = %self.name, "not driven: {cause}");
        self.shown.send_modify(|shown| {
            let status = Status::clone(shown);
            *shown = Arc::new(status.not_driven(&cause));
        });
    }
}

impl Failure {
    /// Whether the migration is in other hands.
    fn is_final(&self) -> bool {
        match self {
            Self::Drive(DriveError::Journal(error)) | Self::Unread(error) => {
                matches!(error, JournalError::Superseded(_) | JournalError::Gone(_))
            }
            Self::Drive(DriveError::NotPossible(_)) | Self::Panicked(_) => false,
        }
    }
}

/// What a panic said, if it was text.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked without a word").to_owned()
}

const FIRST_WAIT: Duration = Duration::from_secs(1);
/// As long as it lasts, a fenced server may serve nobody.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A driver that lasted as long as this begins anew with the shortest wait.
const LASTED: Duration = Duration::from_secs(60);
