//! Traffic while the control plane is killed and started again.

use std::{
    env,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pointsman_lab::{patience::until, ports::free_port};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    task::JoinSet,
    time::interval,
};
use tokio_util::sync::CancellationToken;

use crate::{
    folders::lay_all,
    process::{BOTH, Envoy},
    served_config::ServedConfig,
    standalone,
    traffic::{Backend, Session, answers},
};

/// In the environment of a process that is to be a control plane: its port and its folder.
const SERVE: &str = "POINTSMAN_XDS_TEST_SERVE";

/// The example `standalone` in a process of its own: this test, started again to serve.
struct Standalone {
    port: u16,
    folder: PathBuf,
    process: Child,
}

impl Standalone {
    fn start(port: u16, folder: &Path) -> Self {
        Self {
            port,
            folder: folder.to_owned(),
            process: Self::process(port, folder),
        }
    }

    /// Ends it at once, as `kill -9` does.
    async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    fn restart(&mut self) {
        self.process = Self::process(self.port, &self.folder);
    }

    fn process(port: u16, folder: &Path) -> Child {
        let test = "outages::a_control_plane_killed_twenty_times_costs_no_connection";
        Command::new(env::current_exe().unwrap())
            .args(["--exact", test])
            .env(SERVE, format!("{port} {}", folder.to_str().unwrap()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// What the other process does; it never returns.
    async fn serve(assignment: &str) {
        let (port, folder) = assignment.split_once(' ').unwrap();
        let port: u16 = port.parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let served = standalone::serve(listener.unwrap(), Path::new(folder), |_| ()).await;
        panic!("{served:?}");
    }
}

/// Sessions that stay open and are used all the time, and ever new ones beside them.
struct Traffic {
    stop: CancellationToken,
    opened: Arc<AtomicUsize>,
    sessions: JoinSet<()>,
}

impl Traffic {
    async fn start(port: u16, kept: usize) -> Self {
        let stop = CancellationToken::new();
        let opened = Arc::new(AtomicUsize::new(0));
        let mut sessions = JoinSet::new();
        for _ in 0..kept {
            let session = Session::open(port).await.unwrap();
            sessions.spawn(keep(session, stop.clone()));
        }
        sessions.spawn(renew(port, Arc::clone(&opened), stop.clone()));
        Self {
            stop,
            opened,
            sessions,
        }
    }

    /// Waits until so many more sessions were opened and used.
    async fn goes_on(&self, more: usize) {
        let before = self.opened.load(Ordering::Relaxed);
        until("traffic", async || {
            (self.opened.load(Ordering::Relaxed) >= before + more).then_some(())
        })
        .await;
    }

    /// Ends it; fails if any session has failed.
    async fn stop(mut self) -> usize {
        self.stop.cancel();
        while let Some(session) = self.sessions.join_next().await {
            session.unwrap();
        }
        self.opened.load(Ordering::Relaxed)
    }
}

async fn keep(mut session: Session, stop: CancellationToken) {
    let mut turns = interval(Duration::from_millis(10));
    while !stop.is_cancelled() {
        turns.tick().await;
        session.echo().await.expect("a session was lost");
    }
}

async fn renew(port: u16, opened: Arc<AtomicUsize>, stop: CancellationToken) {
    let mut turns = interval(Duration::from_millis(3));
    while !stop.is_cancelled() {
        turns.tick().await;
        let mut session = Session::open(port).await.expect("a session did not open");
        session.echo().await.expect("a new session was lost");
        opened.fetch_add(1, Ordering::Relaxed);
    }
}

/// The endpoint changes each time, in turns while nobody serves and while it is served.
#[tokio::test]
async fn a_control_plane_killed_twenty_times_costs_no_connection() {
    if let Ok(assignment) = env::var(SERVE) {
        return Standalone::serve(&assignment).await;
    }
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let folder = tempfile::tempdir().unwrap();
        let mut config = ServedConfig::new(free_port(), a.port());
        lay_all(folder.path(), &config);
        let mut server = Standalone::start(free_port(), folder.path());
        let envoy = Envoy::start(server.port, transport).await;
        answers(config.front, &a).await;
        let traffic = Traffic::start(config.front, 20).await;
        let connected = async |is: u64| {
            until("the connection to the server", async || {
                let state = envoy.stats("control_plane.connected_state").await;
                (state == is).then_some(())
            })
            .await;
        };
        connected(1).await;

        for (outage, backend) in (0..20).zip([&b, &a].into_iter().cycle()) {
            server.kill().await;
            connected(0).await;
            traffic.goes_on(10).await;
            config.backend = backend.port();
            let unseen = outage % 4 < 2;
            if unseen {
                lay_all(folder.path(), &config);
            }
            server.restart();
            connected(1).await;
            if !unseen {
                lay_all(folder.path(), &config);
            }
            answers(config.front, backend).await;
        }
        let opened = traffic.stop().await;
        assert!(opened >= 200, "{opened}");
        assert_eq!(envoy.stats("update_rejected").await, 0);
        assert_eq!(envoy.stats("init_fetch_timeout").await, 0);
    }
}
