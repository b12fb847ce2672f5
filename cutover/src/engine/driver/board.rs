use std::sync::Arc;

use tokio::sync::watch;

use crate::engine::status::{BakeView, Status};

/// Where everybody reads how a migration stands.
#[derive(Debug)]
pub(super) struct StatusBoard {
    shown: watch::Sender<Arc<Status>>,
    /// What was last seen in a bake.
    view: BakeView,
}

impl StatusBoard {
    pub(super) fn new(shown: watch::Sender<Arc<Status>>, status: Status, view: BakeView) -> Self {
        shown.send_replace(Arc::new(status));
        Self { shown, view }
    }

    pub(super) fn view(&self) -> &BakeView {
        &self.view
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut BakeView)) {
        change(&mut self.view);
    }

    pub(super) fn show(&self, status: Status) {
        self.shown.send_replace(Arc::new(status));
    }

    /// Shows that nobody drives the migration as long as `cause` lasts.
    pub(super) fn show_not_driven(&self, cause: &str) {
        self.shown.send_modify(|shown| {
            let status = Status::clone(shown);
            *shown = Arc::new(status.not_driven(cause));
        });
    }
}
