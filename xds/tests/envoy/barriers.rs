//! A barrier may pass when Envoy has the content, and not before.

use std::time::Duration;

use pointsman_lab::{gate::Gate, patience::until, ports::free_port};
use pointsman_xds::Outcome;

use crate::{
    control_plane::ControlPlane,
    process::{BOTH, Envoy, loopback},
    served_config::ServedConfig,
    traffic::{Backend, answers},
};

/// Whether this is the one endpoint that Envoy's main thread knows, which is the thread that
/// acknowledges.
async fn has(envoy: &Envoy, backend: &Backend) -> bool {
    let clusters = envoy.admin("/clusters").await.unwrap();
    let mut hosts = clusters
        .lines()
        .filter_map(|line| line.strip_prefix("db::127.0.0.1:"))
        .map(|line| line.split(':').next().unwrap());
    let port = backend.port().to_string();
    hosts.all(|host| host == port)
}

/// The content that Envoy acknowledged last and the newest are equal, and yet Envoy has
/// something else: only the answer that is still out tells.
#[tokio::test]
async fn t07_there_and_back_while_an_answer_is_out_passes_no_barrier_before_it() {
    const BRIEF: Duration = Duration::from_millis(60);
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let server = ControlPlane::start().await;
        let gate = Gate::start(loopback(server.port)).await.unwrap();
        let here = ServedConfig::new(free_port(), a.port());
        let mut there = here.clone();
        there.backend = b.port();
        server.publish(here.resources());
        let envoy = Envoy::start(gate.address().port(), transport).await;
        answers(here.front, &a).await;
        server.flip(here.resources()).await;

        for _ in 0..10 {
            gate.hold();
            let out = server.publish(there.resources());
            until("the other endpoint", async || {
                has(&envoy, &b).await.then_some(())
            })
            .await;
            let back = server.publish(here.resources());
            for sequence in [out, back] {
                let early = server.converge_within(sequence, BRIEF).await;
                assert!(!early.reached, "{transport:?}: {early:?}");
                assert_eq!(early.nodes[0].1, Outcome::Lagging);
            }
            let (out, back, ()) =
                tokio::join!(server.converge(out), server.converge(back), async {
                    gate.release();
                });
            assert!(out.reached, "{transport:?}: {out:?}");
            assert!(back.reached, "{transport:?}: {back:?}");
            assert!(has(&envoy, &a).await, "{transport:?}");
        }
        answers(here.front, &a).await;
    }
}

#[tokio::test]
async fn flips_faster_than_the_answers_end_every_barrier_with_the_newest_content() {
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let server = ControlPlane::start().await;
        let gate = Gate::start(loopback(server.port)).await.unwrap();
        let mut config = ServedConfig::new(free_port(), a.port());
        server.publish(config.resources());
        let envoy = Envoy::start(gate.address().port(), transport).await;
        answers(config.front, &a).await;
        gate.delay(Duration::from_millis(9));

        for round in 0_u32..100 {
            let mut sequences = Vec::new();
            let flips = 1 + round % 4;
            for flip in 0..=flips {
                let backend = if (flips - flip) % 2 == 0 { &a } else { &b };
                config.backend = backend.port();
                sequences.push(server.publish(config.resources()));
                // At times the response of the last one is on its way, at times not.
                for _ in 0..round % 3 {
                    tokio::task::yield_now().await;
                }
            }
            // The newest is waited for first: the older ones must have passed by then.
            for sequence in sequences.into_iter().rev() {
                let convergence = server.converge(sequence).await;
                assert!(convergence.reached, "{transport:?}: {convergence:?}");
                assert!(has(&envoy, &a).await, "{transport:?}, round {round}");
            }
        }
        answers(config.front, &a).await;
    }
}
