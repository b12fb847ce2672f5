//! What an acknowledgement costs the ledger. Printed, never judged:
//! `cargo test --workspace --lib -- fleet::tests::cost --ignored --nocapture`
//! with `--config 'profile.dev.package.pointsman-xds.opt-level=3'` for figures that mean something.

use std::hint::black_box;

use super::*;

const NODES: usize = 10_000;
const ROUNDS: usize = 31;

#[tokio::test]
#[ignore = "a measurement, for people"]
async fn an_acknowledgement_of_one_of_ten_thousand_nodes() {
    let ids: Vec<_> = (0..NODES).map(|at| format!("sidecar-{at}")).collect();
    let names: Vec<_> = ids.iter().map(String::as_str).collect();
    let server = TestControlPlane::new(&names);
    server.publish(1);
    let mut sidecars: Vec<_> = names.iter().map(|id| server.sidecar(id)).collect();
    for sidecar in &mut sidecars {
        sidecar.answer(None);
    }
    let mut nanos = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let sequence = server.publish(u32::try_from(round + 2).unwrap());
        for sidecar in &mut sidecars {
            sidecar.see();
        }
        let barrier = server
            .fleet
            .converge(sequence, Policy::AllRegistered, soon());
        let mut barrier = std::pin::pin!(barrier);
        assert!(futures_util::poll!(barrier.as_mut()).is_pending());
        for sidecar in &mut sidecars {
            sidecar.acknowledge();
        }
        let began = Instant::now();
        for sidecar in &mut sidecars {
            black_box(&sidecar.connection).report(&mut sidecar.machine);
        }
        let took = began.elapsed();
        nanos.push(took.as_nanos() / NODES as u128);
        assert!(barrier.await.reached);
    }
    println!(
        "in the ledger: {} bytes a node, {} a stream, {} a type of one",
        size_of::<entry::Node>(),
        size_of::<entry::Stream>(),
        size_of::<crate::stream::TypeStatus>()
    );
    nanos.sort_unstable();
    let (first, median, last) = (nanos[0], nanos[ROUNDS / 2], nanos[ROUNDS - 1]);
    println!(
        "{NODES} nodes, one barrier, {ROUNDS} rounds: {median} ns per acknowledgement \
         (from {first} to {last}), {} a second",
        1_000_000_000 / median.max(1)
    );
}
