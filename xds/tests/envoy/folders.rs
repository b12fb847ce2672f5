//! The example `standalone`: what it makes of its folder, and what it tells.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use pointsman_lab::{patience::until, ports::free_port};
use pointsman_xds::Resource;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::{
    process::{BOTH, Envoy, Transport},
    served_config::ServedConfig,
    standalone,
    traffic::{Backend, answers, refused},
};

/// Lays a resource into the folder, in one step.
fn lay(folder: &Path, resource: &Resource) {
    let types = folder.join(resource.kind().to_string());
    fs::create_dir_all(&types).unwrap();
    let name = resource.name();
    let part = types.join(format!("{name}.part"));
    fs::write(&part, resource.body()).unwrap();
    fs::rename(part, types.join(format!("{name}.pb"))).unwrap();
}

pub(crate) fn lay_all(folder: &Path, config: &ServedConfig) {
    for resource in config.resources() {
        lay(folder, &resource);
    }
}

/// The example, run here, on a link to one of several states of its folder.
struct Served {
    states: tempfile::TempDir,
    port: u16,
    told: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Served {
    async fn start(config: &ServedConfig) -> Self {
        let states = tempfile::tempdir().unwrap();
        let folder = states.path().join("folder");
        lay_all(&states.path().join("first"), config);
        symlink("first", &folder).unwrap();
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let told = Arc::<Mutex<Vec<String>>>::default();
        let tell = {
            let told = Arc::clone(&told);
            move |message: &str| told.lock().unwrap().push(message.to_owned())
        };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let served = standalone::serve(listener.unwrap(), &folder, tell).await;
            panic!("{served:?}");
        });
        Self {
            states,
            port,
            told,
            _serving: serving,
        }
    }

    fn state(&self, name: &str) -> PathBuf {
        self.states.path().join(name)
    }

    fn link(&self, state: &str) {
        let next = self.state("next");
        symlink(state, &next).unwrap();
        fs::rename(next, self.state("folder")).unwrap();
    }

    /// How often all of these parts were told in one message.
    fn times(&self, parts: &[&str]) -> usize {
        let told = self.told.lock().unwrap();
        let about = |message: &&String| parts.iter().all(|word| message.contains(word));
        told.iter().filter(about).count()
    }

    async fn tells(&self, parts: &[&str]) {
        let seen = async || (self.times(parts) > 0).then_some(());
        until(&format!("{parts:?}"), seen).await;
    }
}

#[tokio::test]
async fn a_folder_is_served_and_followed() {
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let first = ServedConfig::new(free_port(), a.port());
        let second = ServedConfig::new(free_port(), b.port());
        let served = Served::start(&first).await;
        let _envoy = Envoy::start(served.port, transport).await;
        answers(first.front, &a).await;
        lay_all(&served.state("second"), &second);
        served.link("second");
        answers(second.front, &b).await;
        refused(first.front).await;
    }
}

/// One file, one type's folder, the whole folder.
#[tokio::test]
async fn what_was_read_last_is_served_while_the_folder_cannot_be_read() {
    let (a, b) = (Backend::start('a').await, Backend::start('b').await);
    let first = ServedConfig::new(free_port(), a.port());
    let second = ServedConfig::new(free_port(), b.port());
    let served = Served::start(&first).await;
    let envoy = Envoy::start(served.port, Transport::Delta).await;
    answers(first.front, &a).await;

    lay_all(&served.state("second"), &second);
    let unreadable = served.state("second/Cluster/folder.pb");
    fs::create_dir(&unreadable).unwrap();
    served.link("second");
    served
        .tells(&["second/Cluster/folder.pb: Is a directory"])
        .await;

    let (listeners, aside) = (served.state("second/Listener"), served.state("aside"));
    fs::rename(&listeners, &aside).unwrap();
    fs::write(&listeners, "no folder").unwrap();
    fs::remove_dir(&unreadable).unwrap();
    served.tells(&["second/Listener: Not a directory"]).await;

    served.link("nowhere");
    served.tells(&["/folder: No such file or directory"]).await;
    served.link("aside/front.pb");
    served.tells(&["/aside/front.pb: Not a directory"]).await;

    sleep(Duration::from_millis(300)).await;
    assert_eq!(envoy.stats("listener_manager.lds.update_success").await, 1);
    answers(first.front, &a).await;
    for parts in [
        "Is a directory",
        "/Listener: Not a directory",
        "No such file",
    ] {
        assert_eq!(served.times(&[parts]), 1, "{parts}");
    }

    fs::remove_file(&listeners).unwrap();
    fs::rename(&aside, &listeners).unwrap();
    served.link("second");
    answers(second.front, &b).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_is_not_served_at_all() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "no folder").unwrap();
    for (folder, why) in [
        (place.path().join("missing"), "No such file"),
        (file, "Not a directory"),
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let error = standalone::serve(listener, &folder, |_| ()).await;
        let error = error.unwrap_err();
        assert!(error.contains(folder.to_str().unwrap()), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_a_type_is_reported() {
    let served = Served::start(&ServedConfig::new(free_port(), 1)).await;
    fs::create_dir(served.state("first/clusters")).unwrap();
    served
        .tells(&["resources served: 4", "first/clusters is ignored"])
        .await;
}

#[tokio::test]
async fn a_nack_is_reported_once() {
    for transport in BOTH {
        let backend = Backend::start('a').await;
        let mut config = ServedConfig::new(free_port(), backend.port());
        let served = Served::start(&config).await;
        let _envoy = Envoy::start(served.port, transport).await;
        answers(config.front, &backend).await;
        let refusal = ["sidecar refuses ClusterLoadAssignment db: ", "65535"];
        config.backend = 70_000;
        lay_all(&served.state("first"), &config);
        served.tells(&refusal).await;
        // Something else is sent and acknowledged: the refusal still stands.
        let before = config.front;
        config.front = free_port();
        config.backend = backend.port();
        config.cluster = "other".to_owned();
        lay_all(&served.state("first"), &config);
        answers(config.front, &backend).await;
        refused(before).await;
        assert_eq!(served.times(&refusal), 1);
    }
}
