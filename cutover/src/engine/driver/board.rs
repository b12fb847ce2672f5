use std::sync::Arc;

use tokio::sync::watch;

use crate::engine::status::{BakeView, Status};

/// Where everybody reads how a migration stands.
#[derive(Debug)]
pub(super) struct StatusBoard {
    status: watch::Sender<Arc<Status>>,
    /// What was last seen in a bake.
    view: BakeView,
}

impl StatusBoard {
    pub(super) fn new(status: Status) -> Self {
        Self {
            status: watch::Sender::new(Arc::new(status)),
            view: BakeView::default(),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Status>> {
        self.status.subscribe()
    }

    pub(super) fn view(&self) -> &BakeView {
        &self.view
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut BakeView)) {
        change(&mut self.view);
    }

    pub(super) fn show(&self, status: Arc<Status>) {
        self.status.send_replace(status);
    }
}
