//! The tasks that wait for alarms in a bake.

use std::{collections::HashMap, sync::Arc};

use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use crate::ports::{Alarm, AlarmSource, AlarmSubject};

/// One task for each alarm source. They end with this object.
#[derive(Debug)]
pub(super) struct AlarmWatch {
    subject: AlarmSubject,
    tasks: JoinSet<()>,
    sources: HashMap<Id, Arc<dyn AlarmSource>>,
    /// What ended by itself and was started again, in words.
    restarted: Vec<String>,
    fired: mpsc::Sender<Alarm>,
    alarms: mpsc::Receiver<Alarm>,
    quiet: CancellationToken,
    _quiet_at_end: DropGuard,
}

impl AlarmWatch {
    pub(super) fn begin(sources: &[Arc<dyn AlarmSource>], subject: AlarmSubject) -> Self {
        let (fired, alarms) = mpsc::channel(1);
        let quiet = CancellationToken::new();
        let mut watch = Self {
            subject,
            tasks: JoinSet::new(),
            sources: HashMap::new(),
            restarted: Vec::new(),
            fired,
            alarms,
            _quiet_at_end: quiet.clone().drop_guard(),
            quiet,
        };
        for source in sources {
            watch.start(Arc::clone(source));
        }
        watch
    }

    pub(super) fn subject(&self) -> &AlarmSubject {
        &self.subject
    }

    /// The next alarm; waits for one. This object keeps a sender, so there always is a next.
    pub(super) async fn next(&mut self) -> Option<Alarm> {
        self.alarms.recv().await
    }

    /// Starts sources that have ended by themselves again, and says why an alarm could not fire now
    /// or could not for a while.
    pub(super) fn look(&mut self) -> Vec<String> {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let (id, why) = match ended {
                Ok((id, ())) => (id, "it returned".to_owned()),
                Err(error) => (error.id(), error.to_string()),
            };
            if let Some(source) = self.sources.remove(&id) {
                self.restart(source, &why);
            }
        }
        let sources = self.sources.values();
        let now = sources.flat_map(|source| source.warnings(&self.subject));
        now.chain(self.restarted.iter().cloned()).collect()
    }

    fn restart(&mut self, source: Arc<dyn AlarmSource>, why: &str) {
        let name = source.name();
        error!(bake = %self.subject.bake, "the alarm source {name:?} has ended ({why}); it is started again");
        let said = format!("the alarm source {name:?} had ended by itself and was started again");
        if !self.restarted.contains(&said) {
            self.restarted.push(said);
        }
        self.start(source);
    }

    fn start(&mut self, source: Arc<dyn AlarmSource>) {
        let watched = follow(
            Arc::clone(&source),
            self.subject.clone(),
            self.quiet.clone(),
            self.fired.clone(),
        );
        let id = self.tasks.spawn(watched).id();
        self.sources.insert(id, source);
    }
}

async fn follow(
    source: Arc<dyn AlarmSource>,
    subject: AlarmSubject,
    quiet: CancellationToken,
    fired: mpsc::Sender<Alarm>,
) {
    while let Some(alarm) = source.watch(&subject, quiet.clone()).await {
        if fired.send(alarm).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::*;

    /// Panics once, returns once, and then fires.
    #[derive(Debug, Default)]
    struct Frail {
        calls: AtomicU32,
    }

    #[async_trait]
    impl AlarmSource for Frail {
        fn name(&self) -> &'static str {
            "frail"
        }

        async fn watch(&self, _subject: &AlarmSubject, _stop: CancellationToken) -> Option<Alarm> {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            assert!(call > 0, "the first call");
            (call > 1).then(|| Alarm {
                source: "frail".to_owned(),
                reason: "it lives".to_owned(),
            })
        }
    }

    #[tokio::test]
    async fn a_source_that_ends_by_itself_is_named_and_started_again() {
        let subject = AlarmSubject {
            databases: Vec::new(),
            bake: "m/2".to_owned(),
        };
        let source: Arc<dyn AlarmSource> = Arc::new(Frail::default());
        let mut watch = AlarmWatch::begin(&[source], subject);
        let alarm = loop {
            tokio::select! {
                biased;
                alarm = watch.next() => break alarm,
                () = tokio::task::yield_now() => { watch.look(); }
            }
        };
        assert_eq!(alarm.unwrap().reason, "it lives");
        assert_eq!(
            watch.look(),
            ["the alarm source \"frail\" had ended by itself and was started again"]
        );
    }
}
