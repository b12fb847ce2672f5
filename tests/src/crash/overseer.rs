//! The far side of the store of a control plane under test: it counts writes and stops at one.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::{UnixListener, UnixStream},
    sync::{oneshot, watch},
    task::JoinSet,
    time::timeout,
};

use super::wire::{Point, Question, Verdict};

/// Listens at a socket; each process of the control plane under test connects to it once.
#[derive(Debug)]
pub(super) struct Overseer {
    state: watch::Sender<State>,
    _tasks: JoinSet<()>,
}

/// A write, by what it is about and how many like it came before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stop {
    /// See [`Question::label`].
    pub label: String,
    /// The first is 1.
    pub occurrence: usize,
    /// On which side of it.
    pub point: Point,
}

#[derive(Debug, Default)]
struct State {
    /// What was written since the count began, in order.
    written: Vec<String>,
    stop: Option<Stop>,
    /// The answer that the write at the stop waits for.
    held: Option<Arc<Answer>>,
}

/// Taken once.
type Answer = std::sync::Mutex<Option<oneshot::Sender<Verdict>>>;

impl Overseer {
    /// Listens at `socket`; everything goes on to begin with.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn start(socket: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket).context("the overseer's socket")?;
        let state = watch::Sender::<State>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone()));
        Ok(Self {
            state,
            _tasks: tasks,
        })
    }

    /// Counts from now on.
    pub(super) fn count(&self) {
        self.state.send_modify(|state| state.written.clear());
    }

    /// What was written since the count began, in order.
    #[must_use]
    pub(super) fn written(&self) -> Vec<String> {
        self.state.borrow().written.clone()
    }

    /// Counts from now on, and stops at `stop`.
    pub(super) fn stop_at(&self, stop: Stop) {
        self.state.send_modify(|state| {
            state.written.clear();
            state.stop = Some(stop);
        });
    }

    /// Waits until the control plane stands at the stop.
    ///
    /// # Errors
    /// It does not within `deadline`.
    pub(super) async fn stopped(&self, deadline: Duration) -> Result<()> {
        let mut state = self.state.subscribe();
        let held = timeout(deadline, state.wait_for(|state| state.held.is_some())).await;
        match held {
            Ok(held) => {
                held?;
                Ok(())
            }
            Err(_) => {
                let written = self.written();
                anyhow::bail!("the write did not come within {deadline:?}; written: {written:?}")
            }
        }
    }

    /// Answers the write at the stop; every later one goes on. The writer may be gone.
    pub(super) fn answer(&self, verdict: Verdict) {
        self.state.send_modify(|state| {
            state.stop = None;
            let held = state.held.take();
            let answer = held.and_then(|held| held.lock().ok()?.take());
            if let Some(answer) = answer {
                answer.send(verdict).ok();
            }
        });
    }
}

impl State {
    /// Takes a question in. Where it is the stop's, the answer comes later.
    fn hear(&mut self, question: Question) -> Option<oneshot::Receiver<Verdict>> {
        if question.point == Point::Before {
            self.written.push(question.label.clone());
        }
        let same = |label: &&String| **label == question.label;
        let occurrence = self.written.iter().filter(same).count();
        let here = Stop {
            label: question.label,
            occurrence,
            point: question.point,
        };
        if self.held.is_some() || self.stop.as_ref() != Some(&here) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.held = Some(Arc::new(std::sync::Mutex::new(Some(answer))));
        Some(answered)
    }
}

async fn accept(listener: UnixListener, state: watch::Sender<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        connections.spawn(async move {
            // It ends with the control plane, by a kill as a rule.
            serve(BufStream::new(stream), state).await.ok();
        });
    }
}

async fn serve(mut stream: BufStream<UnixStream>, state: watch::Sender<State>) -> Result<()> {
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let question: Question = serde_json::from_str(&line)?;
        line.clear();
        let mut later = None;
        state.send_modify(|state| later = state.hear(question));
        let verdict = match later {
            None => Verdict::Go,
            Some(answered) => answered.await?,
        };
        let mut answer = serde_json::to_string(&verdict)?;
        answer.push('\n');
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}
