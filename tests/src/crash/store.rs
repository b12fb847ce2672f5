//! The store of a control plane under test: it asks its overseer around each write.

use std::{env, os::unix::net::UnixStream as StdStream, sync::Arc};

use anyhow::{Context, Result};
use async_trait::async_trait;
use pointsman_catalog::{
    Store,
    store::{Changes, Key, Revision, StoreError, Versioned, Write},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::UnixStream,
    sync::{Mutex, oneshot, watch},
    task::JoinSet,
};

use super::wire::{self, Point, Question, Verdict};

/// Puts a store that asks around `inner`, where the environment names an overseer.
///
/// # Errors
/// The overseer does not answer.
pub fn overseen(inner: Arc<dyn Store>) -> Result<Arc<dyn Store>> {
    let Some(socket) = env::var_os(wire::SOCKET) else {
        return Ok(inner);
    };
    let stream = StdStream::connect(&socket)
        .with_context(|| format!("connecting to the overseer at {}", socket.display()))?;
    stream.set_nonblocking(true)?;
    let overseer = BufStream::new(UnixStream::from_std(stream)?);
    Ok(Arc::new(OverseenStore {
        inner,
        overseer: Arc::new(Mutex::new(overseer)),
        commits: Mutex::default(),
    }))
}

/// Asks before and after each commit whether it goes on. Commits come one after the other.
#[derive(Debug)]
struct OverseenStore {
    inner: Arc<dyn Store>,
    overseer: Arc<Mutex<BufStream<UnixStream>>>,
    commits: Mutex<JoinSet<()>>,
}

#[async_trait]
impl Store for OverseenStore {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key).await
    }

    async fn range(&self, prefix: &str) -> Result<Vec<(Key, Versioned)>, StoreError> {
        self.inner.range(prefix).await
    }

    async fn changes(
        &self,
        prefixes: &[&str],
        after: Option<Revision>,
    ) -> Result<Changes, StoreError> {
        self.inner.changes(prefixes, after).await
    }

    /// In a task of its own: a caller that stops waiting does not stop it.
    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let (inner, overseer) = (Arc::clone(&self.inner), Arc::clone(&self.overseer));
        let (answer, answered) = oneshot::channel();
        let mut commits = self.commits.lock().await;
        while commits.try_join_next().is_some() {}
        commits.spawn(async move {
            // The caller may have given up.
            answer.send(commit(&inner, &overseer, writes).await).ok();
        });
        drop(commits);
        answered
            .await
            .unwrap_or_else(|lost| Err(StoreError::Unavailable(lost.into())))
    }

    async fn room(&self) -> Result<u64, StoreError> {
        self.inner.room().await
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.inner.watch()
    }
}

async fn commit(
    inner: &Arc<dyn Store>,
    overseer: &Mutex<BufStream<UnixStream>>,
    writes: Vec<Write>,
) -> Result<Revision, StoreError> {
    let label = wire::label(&writes);
    let mut overseer = overseer.lock().await;
    allowed(&mut overseer, Point::Before, &label).await?;
    let committed = inner.commit(writes).await;
    allowed(&mut overseer, Point::After, &label).await?;
    committed
}

async fn allowed(
    overseer: &mut BufStream<UnixStream>,
    point: Point,
    label: &str,
) -> Result<(), StoreError> {
    let question = Question {
        point,
        label: label.to_owned(),
    };
    match ask(overseer, &question).await {
        Ok(Verdict::Go) => Ok(()),
        Ok(Verdict::Fail) => {
            let said = format!("the overseer failed it {} the write", point.label());
            Err(StoreError::Unavailable(said.into()))
        }
        Err(lost) => Err(StoreError::Unavailable(lost.into())),
    }
}

async fn ask(overseer: &mut BufStream<UnixStream>, question: &Question) -> Result<Verdict> {
    let mut line = serde_json::to_string(question)?;
    line.push('\n');
    overseer.write_all(line.as_bytes()).await?;
    overseer.flush().await?;
    line.clear();
    overseer.read_line(&mut line).await?;
    Ok(serde_json::from_str(&line)?)
}
