//! Pointsman alone, under conditions that must not matter.

use anyhow::Context;
use tempfile::TempDir;

use super::certificates;
use super::figure::{Figure, median, rounded};
use super::report::{Databases, Mtls, PublishCall, Stuck};
use super::rig::{Rig, Server};

/// Times the call that publishes, with few streams instead of `many`.
pub(super) async fn publish_call(
    rounds: usize,
    many_streams: usize,
    many_ms: Figure,
) -> anyhow::Result<PublishCall> {
    let mut rig = Rig::start(&Server::OURS, FEW_STREAMS).await?;
    let mut calls = Vec::new();
    for _ in 0..rounds {
        calls.push(rig.push(FEW_STREAMS).await?.call_ms);
    }
    Ok(PublishCall {
        few_streams: FEW_STREAMS,
        few_ms: Figure::of(calls).context("no round")?,
        many_streams,
        many_ms,
    })
}

/// One client of a hundred stops reading for a few changes, again and again; then as many new ones
/// never read.
pub(super) async fn stuck(rig: &mut Rig) -> anyhow::Result<Stuck> {
    let clients = rig.streams() / 100;
    let others = rig.streams() - clients;
    let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let reading = p99(rig, others).await?;
        rig.stall(others).await?;
        let stalled = p99(rig, others).await?;
        rig.resume().await?;
        let middle = |half: &[f64]| median(half.iter().copied()).context("no round");
        ratios.push(middle(&stalled)? / middle(&reading)?);
        without.extend(reading);
        with.extend(stalled);
    }
    let before = rig.resident_quiet().await?;
    rig.connect_stuck(clients).await?;
    for _ in 0..CHANGES {
        rig.push(others).await?;
    }
    let more = rig.resident_quiet().await?.saturating_sub(before);
    Ok(Stuck {
        clients,
        pairs: PAIRS,
        others_p99_ms_without: median(without).context("no round")?,
        others_p99_ms_with: median(with).context("no round")?,
        others_p99_ratio: median(ratios).context("no pair")?,
        rss_kb_each: rounded(more as f64 / 1e3 / clients as f64),
        changes: CHANGES,
    })
}

async fn p99(rig: &mut Rig, counted: usize) -> anyhow::Result<Vec<f64>> {
    let mut sample = Vec::new();
    for _ in 0..ROUNDS_OF_A_HALF {
        sample.push(rig.push(counted).await?.p99_ms);
    }
    Ok(sample)
}

/// One database beside none and beside thousands of others, in turns.
pub(super) async fn databases(streams: usize) -> anyhow::Result<Databases> {
    let mut one = Rig::start(&Server::OURS, streams).await?;
    let full = Server::Ours {
        databases: MANY,
        certificates: None,
    };
    let mut many = Rig::start(&full, streams).await?;
    let (mut few, mut lot) = (Vec::new(), Vec::new());
    for pair in 0..WARM_UP + PAIRS {
        // The second of a pair finds the processor warm.
        let (a, b) = if pair % 2 == 0 {
            let a = one.push(streams).await?;
            (a, many.push(streams).await?)
        } else {
            let b = many.push(streams).await?;
            (one.push(streams).await?, b)
        };
        if pair >= WARM_UP {
            few.push(a);
            lot.push(b);
        }
    }
    let pairs = || few.iter().zip(&lot);
    let value = |value: Option<f64>| value.context("no pair");
    Ok(Databases {
        pairs: PAIRS,
        few: 1,
        many: MANY,
        all_acks_ms_few: value(median(few.iter().map(|push| push.acks_ms)))?,
        all_acks_ms_many: value(median(lot.iter().map(|push| push.acks_ms)))?,
        all_acks_ratio: value(median(pairs().map(|(a, b)| b.acks_ms / a.acks_ms)))?,
        cpu_us_few: value(median(few.iter().map(|push| push.cpu_us)))?,
        cpu_us_many: value(median(lot.iter().map(|push| push.cpu_us)))?,
        cpu_ratio: value(median(pairs().map(|(a, b)| b.cpu_us / a.cpu_us)))?,
    })
}

/// Every client shows a certificate.
pub(super) async fn mtls(rounds: usize, streams: usize) -> anyhow::Result<Mtls> {
    let folder = TempDir::new()?;
    certificates::make(folder.path())?;
    let server = Server::Ours {
        databases: 1,
        certificates: Some(folder.path().to_owned()),
    };
    let mut rig = Rig::start(&server, streams).await?;
    let idle = rig.resident_kb_per_stream().await?;
    for _ in 0..WARM_UP {
        rig.push(streams).await?;
    }
    let (mut acks, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let push = rig.push(streams).await?;
        acks.push(push.acks_ms);
        cpu.push(push.cpu_us);
    }
    Ok(Mtls {
        streams,
        push_to_all_acks_ms: Figure::of(acks).context("no round")?,
        cpu_us_per_push: Figure::of(cpu).context("no round")?,
        rss_kb_per_idle_stream: rounded(idle),
        rss_kb_per_used_stream: rounded(rig.resident_kb_per_stream().await?),
        connect_s: rounded(rig.connect_s()),
    })
}

const FEW_STREAMS: usize = 100;
const PAIRS: usize = 10;
const ROUNDS_OF_A_HALF: usize = 3;
/// While clients do not read.
const CHANGES: usize = 20;
const MANY: usize = 10_000;
const WARM_UP: usize = 2;
