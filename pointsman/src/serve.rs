//! The control plane as a process: its start, its signals and its graceful stop.

mod control_plane;
mod listeners;
pub(crate) mod log;
mod operators;
mod signals;
mod tls;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use pointsman_catalog::{Store, store::EmbeddedStore};
use tokio::time::timeout;
use tracing::info;

use crate::{parts::Parts, settings::Settings};
use control_plane::ControlPlane;
use listeners::Exposure;
pub(crate) use signals::Signals;
use tls::LoadedTls;
pub(crate) use tls::Tls;

/// How to serve.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) data_dir: PathBuf,
    /// Make a new store.
    pub(crate) init: bool,
    pub(crate) settings: Settings,
    pub(crate) xds_listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) tls: Tls,
    /// Sidecars may come from other machines without a certificate.
    pub(crate) xds_anywhere: bool,
    /// The admin listener may be reached from other machines without a certificate.
    pub(crate) admin_anywhere: bool,
    pub(crate) parts: Parts,
}

/// Serves until a signal ends it.
///
/// # Errors
/// What could not be opened, bound or restored, or which part ended by itself.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    log::init();
    let mut signals = Signals::new()?;
    listeners::check_admin(Exposure {
        address: options.admin_listen,
        tls: options.tls.admin.is_some(),
        plaintext_anywhere: options.admin_anywhere,
    })?;
    listeners::check_xds(Exposure {
        address: options.xds_listen,
        tls: options.tls.xds.is_some(),
        plaintext_anywhere: options.xds_anywhere,
    })?;
    // Before a new store is made: a start that fails must not leave one behind.
    let tls = LoadedTls::read(&options.tls).await?;
    let xds = listeners::bind("sidecars", "--xds-listen", options.xds_listen).await?;
    let admin = listeners::bind("operators", "--admin-listen", options.admin_listen).await?;
    let store = (options.parts.store)(open(&options).await?)?;
    let mut control_plane =
        ControlPlane::build(store, &options.settings, options.parts.providers).await?;
    control_plane.open(xds, admin, tls).await?;

    let ended = tokio::select! {
        () = signals.next() => None,
        ended = control_plane.tasks.join_next() => Some(ended),
    };
    info!("stopping");
    tokio::select! {
        stopped = timeout(STOPPING, control_plane.close()) => {
            stopped.context("parts of the control plane did not stop in time")?;
        }
        () = signals.next() => bail!("a second signal: stopped without waiting"),
    }
    match ended {
        None => Ok(()),
        Some(Some(Ok(Err(error)))) => Err(error),
        Some(Some(Err(panic))) => Err(panic).context("a part of the control plane failed"),
        Some(Some(Ok(Ok(()))) | None) => bail!("a listener ended by itself"),
    }
}

async fn open(options: &Options) -> anyhow::Result<Arc<dyn Store>> {
    let dir = options.data_dir.clone();
    let init = options.init;
    let store = tokio::task::spawn_blocking(move || {
        if init {
            // The folder is made for its owner alone.
            Ok(EmbeddedStore::create(&dir)?)
        } else {
            anyhow::Ok(EmbeddedStore::open(&dir)?)
        }
    })
    .await??;
    Ok(Arc::new(store))
}

/// How long a graceful stop may take. A step of a switch ends within its own deadline, streams
/// within theirs.
const STOPPING: Duration = Duration::from_secs(20);
