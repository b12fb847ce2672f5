//! The Unix socket at which sidecars ask.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pointsman_xds::{
    Fleet, Group, Limits, NoTelemetry, Policy, ServeError, SnapshotCache, SnapshotError, XdsServer,
};
use tokio::{net::UnixListener, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{directory::CacheDirectory, kept::Kept};

/// A path for a socket. Nobody listens there until something is served.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    listen: IpAddr,
}

/// What is served at a socket.
#[derive(Debug)]
pub(super) struct Serving {
    kept: Arc<Kept>,
    cache: Arc<SnapshotCache>,
    fleet: Arc<Fleet>,
    group: Group,
    path: PathBuf,
    stop: CancellationToken,
    task: JoinSet<Result<(), ServeError>>,
}

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("{what} the socket {} (--socket): {source}", path.display())]
    Disk {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "somebody listens on {} (--socket) already: each sidecar's cache needs a socket of its own",
        .0.display()
    )]
    Taken(PathBuf),
    #[error("{} (--socket) is there and is no socket: name another path", .0.display())]
    NoSocket(PathBuf),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl Socket {
    /// A socket for sidecars that listen on `listen`.
    ///
    /// # Errors
    /// Why nobody could listen at `path`.
    pub(super) fn at(path: &Path, listen: IpAddr) -> Result<Self, SocketError> {
        let socket = Self {
            path: path.to_owned(),
            listen,
        };
        drop(socket.bind()?);
        fs::remove_file(path).map_err(|source| socket.failed("cannot remove", source))?;
        Ok(socket)
    }

    /// Serves `kept` until [`Serving::end`].
    ///
    /// # Errors
    /// Why nobody can listen there now.
    pub(super) fn serve(&self, kept: Arc<Kept>) -> Result<Serving, SocketError> {
        let group = Group::new(self.listen.to_string());
        let cache = Arc::new(SnapshotCache::new());
        let snapshot = kept.snapshot()?;
        cache.publish([(group.clone(), snapshot)].into());
        let directory = CacheDirectory {
            listen: self.listen,
            group: group.clone(),
        };
        let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
        let server = XdsServer::new(
            Arc::clone(&cache),
            Arc::clone(&fleet),
            Arc::new(directory),
            Arc::new(NoTelemetry),
            limits(),
        );
        let listener = self.bind()?;
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(server.serve_unix(listener, stop.clone()));
        Ok(Serving {
            kept,
            cache,
            fleet,
            group,
            path: self.path.clone(),
            task,
            stop,
        })
    }

    fn bind(&self) -> Result<UnixListener, SocketError> {
        self.clear()?;
        let listener = UnixListener::bind(&self.path)
            .map_err(|source| self.failed("cannot listen on", source))?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(MODE))
            .map_err(|source| self.failed("cannot set the mode of", source))?;
        Ok(listener)
    }

    /// Removes the socket that a process has left which was killed.
    fn clear(&self) -> Result<(), SocketError> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(self.failed("cannot look at", source)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NoSocket(self.path.clone()));
            }
            Ok(_) => {}
        }
        match UnixStream::connect(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Ok(_) | Err(_) => return Err(SocketError::Taken(self.path.clone())),
        }
        fs::remove_file(&self.path).map_err(|source| self.failed("cannot remove", source))
    }

    fn failed(&self, what: &'static str, source: io::Error) -> SocketError {
        SocketError::Disk {
            what,
            path: self.path.clone(),
            source,
        }
    }
}

impl Serving {
    /// Whether this is what is served.
    pub(super) fn is_of(&self, kept: &Arc<Kept>) -> bool {
        Arc::ptr_eq(&self.kept, kept)
    }

    /// Lets the sidecars have `kept`, too, before they go back. An Envoy that changes its server says nothing
    /// of what it has, so that its control plane could not take away what is not there any more.
    pub(super) async fn hand_over(&mut self, kept: &Arc<Kept>) -> Result<(), SnapshotError> {
        let snapshots = [(self.group.clone(), kept.snapshot()?)].into();
        let sequence = self.cache.publish(snapshots);
        self.kept = Arc::clone(kept);
        let deadline = sleep(HAND_OVER);
        let found = self
            .fleet
            .converge(sequence, Policy::AllRegistered, deadline);
        let found = found.await;
        if !found.reached {
            warn!(?found.nodes, "not every sidecar has taken what changed before it goes back");
        }
        Ok(())
    }

    /// Ends all streams, and listens no more: a sidecar goes back to its control plane.
    pub(super) async fn end(mut self) {
        // First, so that nobody comes any more.
        fs::remove_file(&self.path).ok();
        self.stop.cancel();
        self.task.join_next().await;
    }

    /// Resolves if it ends by itself, with the reason.
    pub(super) async fn failed(&mut self) -> String {
        match self.task.join_next().await {
            Some(Ok(Ok(()))) | None => "it has ended".to_owned(),
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(panic)) => panic.to_string(),
        }
    }
}

/// How long sidecars may take for what has changed, before they are sent back in any case.
const HAND_OVER: Duration = Duration::from_secs(2);

/// For the few sidecars of one machine that share a configuration.
fn limits() -> Limits {
    Limits {
        connections: 64,
        connections_per_second: 64,
        streams: 64,
        telemetry_streams: 0,
        streams_per_connection: 16,
        drain: Duration::from_secs(1),
        ..Limits::default()
    }
}

/// The sidecar may run as another user of the same group.
const MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LISTEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn nobody_listens_before_something_is_served_and_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let socket = Socket::at(&path, LISTEN).unwrap();
        assert!(!path.exists());
        let serving = socket.serve(Arc::default()).unwrap();
        UnixStream::connect(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let second = Socket::at(&path, LISTEN);
        assert!(matches!(second, Err(SocketError::Taken(_))), "{second:?}");
        serving.end().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_process_has_left_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        Socket::at(&path, LISTEN).unwrap();
        fs::write(&path, "precious").unwrap();
        let refused = Socket::at(&path, LISTEN);
        assert!(
            matches!(refused, Err(SocketError::NoSocket(_))),
            "{refused:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let nowhere = Socket::at(&folder.path().join("no/a.sock"), LISTEN);
        let message = nowhere.unwrap_err().to_string();
        assert!(message.contains("cannot listen on"), "{message}");
    }
}
