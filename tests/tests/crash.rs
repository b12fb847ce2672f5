//! A sample of `make crash`: cells whose outcomes differ.

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use pointsman_tests::crash::{Cell, Fault, Outcome, Place, Point, Run, undisturbed};

/// The cell of `run` at the write whose label ends with `label`.
fn cell(places: &[Place], label: &str, point: Point, fault: Fault) -> Result<Cell> {
    let place = places.iter().find(|place| place.label.ends_with(label));
    let place = place.with_context(|| format!("no write {label:?} among {places:#?}"))?;
    Ok(Cell {
        place: place.clone(),
        point,
        fault,
    })
}

async fn is_as_written(cell: Cell, settles: &str) -> Result<()> {
    let outcome = Outcome::of(cell).await;
    let faults = outcome.faults();
    ensure!(faults.is_empty(), "{}: {faults:#?}", outcome.name);
    let settled = outcome.settled();
    ensure!(settled == settles, "{}: {settled}", outcome.name);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_intent_to_promote_decides_who_serves_after_a_crash() -> Result<()> {
    let places = Place::all(Run::Switch, &undisturbed(Run::Switch).await?);
    let at = |label, point, fault| cell(&places, label, point, fault);
    try_join_all([
        is_as_written(
            at("promote intent", Point::Before, Fault::Killed)?,
            "undone",
        ),
        is_as_written(at("promote intent", Point::After, Fault::Killed)?, "baking"),
    ])
    .await?;
    try_join_all([
        is_as_written(
            at("fence intent", Point::After, Fault::SourceCrash)?,
            "undone",
        ),
        is_as_written(
            at("flip intent", Point::After, Fault::AnswerLost)?,
            "baking",
        ),
    ])
    .await?;
    Ok(())
}
