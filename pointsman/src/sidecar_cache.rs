//! The cache beside a sidecar: the last configuration, for sidecars that start while the control plane is
//! down.
//!
//! ```text
//!   control plane ─► Upstream ─► Keeper ─► Socket ─► a sidecar that starts
//!                                  │ ▲
//!                                  ▼ │
//!                                CacheFile
//! ```
//!
//! It follows the configuration of one sidecar as a client of the control plane that nobody counts, and
//! serves it at a Unix socket as long as the control plane does not serve. It cannot know what happened
//! since: that a writer which was left takes no more writes is the work of the fence in the database.

mod contact;
mod directory;
mod file;
mod keeper;
mod kept;
mod socket;
mod upstream;

use std::{io::Write as _, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use pointsman_catalog::Endpoint;
use pointsman_xds::ClientTls;
use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use self::{
    contact::Moment,
    file::{CacheFile, Contents, Owner},
    keeper::{FileChange, Keeper, News, Verdict, Why},
    socket::{Serving, Socket},
    upstream::{Node, Upstream},
};
use crate::serve::{Signals, log};

/// Whose configuration is kept, and how.
#[derive(Debug)]
pub(crate) struct Options {
    /// Envoy's node.id.
    pub(crate) node: String,
    pub(crate) listen: IpAddr,
    pub(crate) xds: Endpoint,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) file: PathBuf,
    pub(crate) socket: PathBuf,
    /// From the last contact with the control plane on, how long what is kept may be served.
    pub(crate) max_age: Duration,
}

/// Keeps and serves until a signal ends it.
///
/// # Errors
/// What of the options cannot be used, or which part ended by itself.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    log::init();
    let mut signals = Signals::new()?;
    if let Some(tls) = &options.tls {
        tls.check().await.context("the sidecar's certificate")?;
    }
    let file = CacheFile::take(
        &options.file,
        Owner {
            node: options.node.clone(),
            listen: options.listen,
            xds: options.xds.to_string(),
        },
    )?;
    let socket = Socket::at(&options.socket, options.listen)?;
    let keeper = Keeper::new(options.max_age, load(&file)?);
    let (news, heard) = mpsc::channel(NEWS);
    let upstream = Upstream {
        xds: options.xds.clone(),
        tls: options.tls,
        node: Node {
            id: options.node,
            listen: options.listen,
        },
        refresh: (options.max_age / REFRESHES).clamp(MIN_REFRESH, MAX_REFRESH),
        news,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(upstream.run());
    let mut out = std::io::stdout();
    writeln!(
        out,
        "ready xds={} socket={}",
        options.xds,
        options.socket.display()
    )?;
    out.flush()?;
    let mut cache = Cache {
        file: Arc::new(file),
        socket,
        keeper,
        said: None,
        serving: None,
    };
    let ended = tokio::select! {
        () = signals.next() => Ok(()),
        failed = cache.follow(heard) => failed,
    };
    cache.stop_serving().await;
    ended
}

/// What a former process has kept.
fn load(file: &CacheFile) -> anyhow::Result<Option<(kept::Kept, Moment)>> {
    let (found, damage) = file.load()?;
    if let Some(why) = damage {
        warn!("what was kept is not used: {why}");
    }
    Ok(found.map(|contents| {
        let Contents { kept, contact, .. } = contents;
        info!(
            resources = kept.len(),
            "found what a former process has kept"
        );
        (kept, Moment::recorded(contact))
    }))
}

struct Cache {
    file: Arc<CacheFile>,
    socket: Socket,
    keeper: Keeper,
    /// The last verdict that the log has, as a line.
    said: Option<String>,
    serving: Option<Serving>,
}

impl Cache {
    /// Follows the control plane. It ends only with an error.
    async fn follow(&mut self, mut heard: mpsc::Receiver<News>) -> anyhow::Result<()> {
        loop {
            let retry = self.obey().await;
            let expires = self.keeper.expires_in(Moment::now());
            // A moment later, so that it is too old then.
            let expired = expires.map(|left| left + Duration::from_millis(1));
            let wait = retry.or(expired);
            tokio::select! {
                news = heard.recv() => {
                    let news = news.context("the control plane is followed no more")?;
                    self.hear(news, &mut heard).await?;
                }
                () = sleep(wait.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)) => {}
                reason = failed(&mut self.serving) => bail!("serving failed: {reason}"),
            }
        }
    }

    /// Takes in what has been heard, all of it, and writes once.
    async fn hear(&mut self, news: News, more: &mut mpsc::Receiver<News>) -> anyhow::Result<()> {
        let mut change = self.keeper.hear(news);
        while let Ok(news) = more.try_recv() {
            match self.keeper.hear(news) {
                FileChange::None => {}
                newer @ (FileChange::Write | FileChange::Remove) => change = newer,
            }
        }
        let contents = self.keeper.kept().map(|(kept, contact)| Contents {
            owner: self.file.owner().clone(),
            contact: contact.wall,
            kept: kept.as_ref().clone(),
        });
        let (file, wanted) = (Arc::clone(&self.file), change.clone());
        let done = spawn_blocking(move || match (wanted, contents) {
            (FileChange::Remove, _) => file.remove(),
            (FileChange::Write, Some(contents)) => file.write(&contents),
            (FileChange::Write | FileChange::None, _) => Ok(()),
        })
        .await?;
        match (done, change) {
            // What must not be served must not come back with the next process.
            (Err(failure), FileChange::Remove) => Err(failure.into()),
            (Err(failure), FileChange::Write | FileChange::None) => {
                error!("{failure}: this process goes on, the next one would know less");
                Ok(())
            }
            (Ok(()), _) => Ok(()),
        }
    }

    /// Serves, or stops to. Returns when to try again if that failed.
    async fn obey(&mut self) -> Option<Duration> {
        let verdict = self.keeper.verdict(Moment::now());
        let line = match &verdict {
            Verdict::Serve(kept) => format!(
                "the control plane does not serve: {} resources that were kept are served",
                kept.len()
            ),
            Verdict::Silent(why) => format!("nothing is served: {why}"),
        };
        let serving = self.serving.as_ref();
        match verdict {
            Verdict::Silent(Why::Reachable) => self.send_back().await,
            Verdict::Silent(_) => self.stop_serving().await,
            Verdict::Serve(kept) if serving.is_some_and(|serving| serving.is_of(&kept)) => {}
            Verdict::Serve(kept) => {
                self.stop_serving().await;
                match self.socket.serve(kept) {
                    Ok(serving) => self.serving = Some(serving),
                    Err(failure) => {
                        self.say(format!("nothing is served: {failure}"));
                        return Some(RETRY);
                    }
                }
            }
        }
        self.say(line);
        None
    }

    /// Ends serving with what the control plane says now.
    async fn send_back(&mut self) {
        if let (Some(serving), Some((kept, _))) = (&mut self.serving, self.keeper.kept())
            && let Err(failure) = serving.hand_over(kept).await
        {
            warn!("sidecars go back with what they have: {failure}");
        }
        self.stop_serving().await;
    }

    async fn stop_serving(&mut self) {
        if let Some(serving) = self.serving.take() {
            // The server bounds its own end.
            if timeout(STOP, serving.end()).await.is_err() {
                warn!("sidecars' streams did not end in time");
            }
        }
    }

    fn say(&mut self, line: String) {
        if self.said.as_ref() != Some(&line) {
            info!("{line}");
            self.said = Some(line);
        }
    }
}

/// Resolves if what is served ends by itself.
async fn failed(serving: &mut Option<Serving>) -> String {
    match serving {
        Some(serving) => serving.failed().await,
        None => std::future::pending().await,
    }
}

/// News that wait to be taken in.
const NEWS: usize = 16;
/// How often within its age the control plane is asked whether what is kept is still so.
const REFRESHES: u32 = 20;
const MIN_REFRESH: Duration = Duration::from_secs(1);
const MAX_REFRESH: Duration = Duration::from_secs(60);
/// The machine's clock may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// After the socket could not be opened.
const RETRY: Duration = Duration::from_secs(1);
const STOP: Duration = Duration::from_secs(5);
