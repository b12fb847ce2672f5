//! New content, again and again.

use std::time::Duration;

use crate::{
    process::BOTH,
    served_config::ServedConfig,
    traffic::{Backend, answers},
};
use pointsman_lab::ports::free_port;

#[tokio::test]
async fn a_flip_moves_connections_and_is_acknowledged() {
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let mut config = ServedConfig::new(free_port(), a.port());
        let (server, _envoy) = config.served(&a, transport).await;
        for backend in [&b, &a, &b] {
            config.backend = backend.port();
            server.flip(config.resources()).await;
            answers(config.front, backend).await;
        }
    }
}

/// Every twenty-fifth flip changes the cluster too, which then warms anew; after it the cluster
/// changes alone.
#[tokio::test]
async fn five_hundred_flips_leave_nothing_refused_and_nothing_warming() {
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let mut config = ServedConfig::new(free_port(), a.port());
        let (server, envoy) = config.served(&a, transport).await;
        for (flip, backend) in (1..=500).zip([&b, &a].into_iter().cycle()) {
            config.backend = backend.port();
            config.connect_timeout = Duration::from_secs(1 + flip / 25);
            server.flip(config.resources()).await;
            if flip % 25 == 0 {
                answers(config.front, backend).await;
                config.connect_timeout += Duration::from_secs(1000);
                server.flip(config.resources()).await;
            }
        }
        assert_eq!(envoy.stats("update_rejected").await, 0);
        assert_eq!(envoy.stats("init_fetch_timeout").await, 0);
        assert_eq!(envoy.stats("cluster_manager.warming_clusters").await, 0);
        assert_eq!(
            envoy
                .stats("listener_manager.total_listeners_warming")
                .await,
            0
        );
        let accepted = envoy.stats("cluster.db.update_success").await;
        assert!(accepted >= 500, "{accepted}");
        let dump = envoy.admin("/config_dump").await.unwrap();
        assert!(dump.contains("dynamic_active_clusters"), "{dump}");
        for state in ["dynamic_warming_clusters", "warming_state", "error_state"] {
            assert!(!dump.contains(state), "{dump}");
        }
        let clusters = envoy.admin("/clusters").await.unwrap();
        assert!(clusters.contains(&format!("db::127.0.0.1:{}::", a.port())));
        assert!(!clusters.contains(&format!("db::127.0.0.1:{}::", b.port())));
    }
}

/// A changed cluster warms anew, and Envoy withholds its ACK until the endpoints are there.
#[tokio::test]
async fn x43_a_changed_cluster_is_acknowledged_promptly() {
    for transport in BOTH {
        let backend = Backend::start('a').await;
        let mut config = ServedConfig::new(free_port(), backend.port());
        let (server, _envoy) = config.served(&backend, transport).await;
        for seconds in 2..6 {
            config.connect_timeout = Duration::from_secs(seconds);
            server.flip(config.resources()).await;
        }
        answers(config.front, &backend).await;
    }
}

/// Everything is replaced by one publish, the listener's name included, on the same port.
#[tokio::test]
async fn x42_one_publish_replaces_all_resources() {
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let mut config = ServedConfig::new(free_port(), a.port());
        let (server, _envoy) = config.served(&a, transport).await;

        config.cluster = "new".to_owned();
        config.backend = b.port();
        server.flip(config.resources()).await;
        answers(config.front, &b).await;

        config.listener = "renamed".to_owned();
        server.flip(config.resources()).await;
        answers(config.front, &b).await;
    }
}
