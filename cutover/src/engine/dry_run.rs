//! A switch on paper: the real steps over ports without effects, so that what is shown
//! cannot drift from what is done.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{DatabaseName, Route, RouteChange};

use super::{EngineError, Ports};
use crate::{
    Settings,
    machine::{Command, Direction, Event, Step},
    migration::Migration,
    ports::{
        BarrierPolicy, Convergence, DataPlane, DataPlaneError, Membership, Publication, Recorder,
        Rehearsal,
    },
    steps::{self, BudgetsOfPair, Failure, Run, Sessions},
};

pub(super) async fn run(
    ports: &Ports,
    settings: &Settings,
    mut migration: Migration,
    direction: Direction,
) -> Result<Vec<String>, EngineError> {
    let recorder = Recorder::default();
    let paper = Ports {
        data_plane: Arc::new(PaperDataPlane {
            real: Arc::clone(&ports.data_plane),
            recorder: recorder.clone(),
        }),
        providers: ports.providers.recording(&recorder),
        alarms: Vec::new(),
        ..ports.clone()
    };
    let hurried = Settings {
        settle: Duration::ZERO,
        ..*settings
    };
    let would_stop_early = |failure: Failure| EngineError::Refused(failure.message);
    let budgets = BudgetsOfPair::of(&paper, &hurried, &migration)
        .await
        .map_err(would_stop_early)?;
    let mut sessions = Sessions::default();
    let guarded = [Command::Step(direction, Step::Promote)];
    let mut promotion = &guarded[..];
    for step in Step::ALL {
        recorder.note(format!("-- {} {}", direction.label(), step.label()));
        let would_stop = |reason: String| {
            EngineError::Refused(format!(
                "the switch would stop at {}: {reason}",
                step.label()
            ))
        };
        let own = [Command::Step(direction, step)];
        let commands = if step == Step::Promote {
            promotion
        } else {
            &own
        };
        for &command in commands {
            let mut run = Run {
                ports: &paper,
                settings: &hurried,
                budgets,
                migration: &migration,
                sessions: &mut sessions,
            };
            let proof = steps::perform(&mut run, command)
                .await
                .map_err(|failure| would_stop(failure.message))?;
            if proof.event == Event::DoneManaged {
                promotion = &[Command::RequestPromotion, Command::AwaitPromotion];
            }
            for learned in proof.learned {
                let taken_over = migration.facts.learn(learned);
                taken_over.map_err(|missing| would_stop(missing.to_string()))?;
            }
        }
        if step == Step::Hold {
            recorder.note(format!("settle for {:?}", settings.settle));
        }
    }
    Ok(recorder.lines())
}

/// Shows publishes; knows the real fleet.
#[derive(Debug)]
struct PaperDataPlane {
    real: Arc<dyn DataPlane>,
    recorder: Recorder,
}

#[async_trait]
impl DataPlane for PaperDataPlane {
    async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<Publication, DataPlaneError> {
        for (database, change) in changes {
            for (role, route) in [("writer", &change.writer), ("reader", &change.reader)] {
                if let Some(route) = route {
                    let route = describe(route);
                    self.recorder
                        .note(format!("publish {role}.{database}: {route}"));
                }
            }
        }
        Ok(Publication {
            sequence: 0,
            epochs: BTreeMap::new(),
        })
    }

    async fn converge(
        &self,
        _: &Publication,
        barrier: BarrierPolicy,
        deadline: Duration,
    ) -> Convergence {
        let who = match barrier {
            BarrierPolicy::AllRegistered => "every registered sidecar",
            BarrierPolicy::AllConnected => "every connected sidecar",
        };
        self.recorder
            .note(format!("wait for {who}, at most {deadline:?}"));
        Convergence {
            reached: true,
            ..Convergence::default()
        }
    }

    async fn rehearse(&self, deadline: Duration) -> Result<Rehearsal, DataPlaneError> {
        self.recorder.note(format!(
            "publish a change that moves nothing, to the canaries first; wait for every \
             registered sidecar, at most {deadline:?}"
        ));
        Ok(Rehearsal::default())
    }

    async fn membership(&self) -> Result<Membership, DataPlaneError> {
        self.real.membership().await
    }
}

fn describe(route: &Route) -> String {
    let list = |servers: &[pointsman_catalog::ServerName]| {
        let names: Vec<_> = servers.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    match route {
        Route::Serve { servers, draining } if draining.is_empty() => {
            format!("serve {}", list(servers))
        }
        Route::Serve { servers, draining } => {
            format!("serve {}, draining {}", list(servers), list(draining))
        }
        Route::Hold { since, until, .. } => format!("hold for {:?}", until.since(*since)),
        Route::Refuse => "refuse".to_owned(),
    }
}
