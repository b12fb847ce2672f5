//! How each fault happens, and how it is mended.

use anyhow::{Context, Result};
use pointsman_lab::{gate::Gate, postgres::PostgresServer};

use super::{
    cell::{Cell, Fault},
    stage::Stage,
    wire::Verdict,
};

/// Makes the fault of `cell` happen while the write stands still, then lets the write go on.
pub(super) async fn happens(stage: &mut Stage, cell: &Cell) -> Result<()> {
    let mut verdict = Verdict::Go;
    match cell.fault {
        Fault::Killed => stage.lab.control_plane.kill9().await?,
        Fault::SourceCrash | Fault::TargetCrash => {
            if let Some(server) = crashed(stage, cell.fault) {
                server.crash().await?;
            }
        }
        Fault::SidecarCut => sidecars_gate(stage)?.sever(),
        Fault::SessionsCut => {
            let gates = &stage.lab.gates;
            for gate in [&gates.source_control, &gates.target_control] {
                gate.as_ref().context("no gate before a server")?.cut();
            }
        }
        Fault::AnswerLost => verdict = Verdict::Fail,
    }
    stage.overseer.answer(verdict);
    if cell.fault == Fault::Killed {
        stage.lab.control_plane.restart().await?;
    }
    Ok(())
}

/// The server that `fault` takes away.
pub(super) fn crashed(stage: &Stage, fault: Fault) -> Option<&PostgresServer> {
    match fault {
        Fault::SourceCrash => Some(stage.source()),
        Fault::TargetCrash => Some(stage.target()),
        Fault::Killed | Fault::SidecarCut | Fault::SessionsCut | Fault::AnswerLost => None,
    }
}

/// Brings back what is still away.
pub(super) async fn mended(stage: &Stage, cell: &Cell) -> Result<()> {
    if cell.fault == Fault::SidecarCut {
        sidecars_gate(stage)?.restore();
        stage.lab.synced().await?;
    }
    if let Some(server) = crashed(stage, cell.fault)
        && server.pid().is_none()
    {
        server.start().await?;
    }
    Ok(())
}

fn sidecars_gate(stage: &Stage) -> Result<&Gate> {
    let gate = stage.lab.gates.xds.as_ref();
    gate.context("no gate before the control plane")
}
