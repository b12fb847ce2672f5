use std::fmt;

use async_trait::async_trait;
use pointsman_catalog::DatabaseName;
use tokio_util::sync::CancellationToken;

/// What an alarm source watches during a bake.
#[derive(Clone, Debug)]
pub struct AlarmSubject {
    pub databases: Vec<DatabaseName>,
    /// Names the bake: an alarm that watches again after it fired watches the same one.
    pub bake: String,
}

/// Why a rollback should start. It goes on the record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alarm {
    pub source: String,
    pub reason: String,
}

/// Watches the health of databases during a bake.
#[async_trait]
pub trait AlarmSource: fmt::Debug + Send + Sync {
    /// What operators call it.
    fn name(&self) -> &'static str;

    /// Resolves when the alarm fires, or with `None` once `stop` is cancelled.
    async fn watch(&self, subject: &AlarmSubject, stop: CancellationToken) -> Option<Alarm>;

    /// Why it could not fire now although it watches `subject`; shown to the operator.
    fn warnings(&self, _subject: &AlarmSubject) -> Vec<String> {
        Vec::new()
    }
}
