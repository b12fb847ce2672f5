//! One endpoint change to thousands of delta ADS streams: by `pointsman-xds`, by the same over
//! the `h2` crate, by go-control-plane, and by a floor that only writes and counts.

mod certificates;
pub mod client;
mod comparison;
mod content;
mod control;
mod figure;
pub mod floor;
mod h2;
pub mod ours;
mod report;
mod rig;
mod variants;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::Context;

use self::comparison::Contender;
pub use self::comparison::Extent;
pub use self::figure::Figure;
use self::figure::rounded;
pub use self::report::{Databases, Goal, Mtls, PublishCall, Ratios, Report, Side, Stuck};
use self::rig::Server;

/// The programs beside this one that serve the same.
#[derive(Debug, Clone)]
pub struct Peers {
    /// go-control-plane; left out where there is no such file.
    pub go_control_plane: PathBuf,
    /// This benchmark's program of another build.
    pub baseline: Option<PathBuf>,
}

/// Measures everything; `tell` hears how far it is.
///
/// # Errors
/// A client got something wrong, a stream broke, or ACKs are missing.
pub async fn run(
    extent: Extent,
    peers: &Peers,
    mut tell: impl FnMut(&str),
) -> anyhow::Result<Report> {
    let Extent { streams, rounds } = extent;
    let (servers, skipped) = servers(peers);
    let mut contenders = Vec::new();
    for (name, server) in servers {
        tell(&format!("{name}: connecting {streams} clients"));
        contenders.push(Contender::start(name, &server, streams).await?);
    }
    let sides = comparison::run(&mut contenders, extent, &mut tell).await?;
    contenders.retain(|contender| contender.name == OURS);
    let (ours, floor) = (sides[OURS], sides[FLOOR]);
    let acks = |side: &Side| side.push_to_all_acks_ms.median;
    let peers = [SNAPSHOT, LINEAR]
        .into_iter()
        .filter_map(|name| sides.get(name));
    let best = peers.map(acks).reduce(f64::min);
    tell("clients that do not read");
    let mut contender = contenders.pop().context("nothing of ours")?;
    let stuck = variants::stuck(&mut contender.rig).await?;
    drop(contender);
    tell("few streams");
    let publish_call = variants::publish_call(rounds, streams, ours.publish_call_ms).await?;
    tell("many databases");
    let databases = variants::databases(streams).await?;
    tell("mutual TLS");
    let mtls = variants::mtls(rounds, streams).await?;
    let report = Report {
        streams,
        rounds,
        skipped,
        all_acks_vs_gcp_best: best.map(|best| rounded(acks(&ours) / best)),
        all_acks_vs_floor: rounded(acks(&ours) / acks(&floor)),
        own_vs_h2: Ratios::of(&ours, &sides[H2]),
        vs_baseline: sides.get(BASELINE).map(|side| Ratios::of(&ours, side)),
        servers: sides,
        publish_call,
        stuck,
        databases,
        mtls,
        goals: Vec::new(),
    };
    Ok(report.with_goals(&ours))
}

fn servers(peers: &Peers) -> (Vec<(&'static str, Server)>, Option<String>) {
    let other = |program: &Path, arguments| Server::Other {
        program: program.to_owned(),
        arguments,
    };
    let mut servers = vec![
        (OURS, Server::OURS),
        (H2, Server::H2),
        (FLOOR, Server::Floor),
    ];
    if let Some(program) = &peers.baseline {
        servers.push((BASELINE, other(program, ["ours", "1"])));
    }
    let peer = &peers.go_control_plane;
    if !peer.exists() {
        let reason = format!(
            "go-control-plane: there is no {} (is Go installed?)",
            peer.display()
        );
        return (servers, Some(reason));
    }
    servers.push((SNAPSHOT, other(peer, ["-cache", "snapshot"])));
    servers.push((LINEAR, other(peer, ["-cache", "linear"])));
    (servers, None)
}

const OURS: &str = "pointsman";
const BASELINE: &str = "baseline";
const H2: &str = "pointsman_over_h2";
const FLOOR: &str = "floor";
const SNAPSHOT: &str = "go_control_plane_snapshot";
const LINEAR: &str = "go_control_plane_linear";
