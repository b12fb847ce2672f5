//! Members that come and go.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, FuturesUnordered},
};
use pointsman_lab::{
    envoy::Envoy,
    workload::{Clock, Moment},
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    Size,
    envoys::{Deployment, PATH, address_of},
    stage::{GROUP, Stage},
    streams::{StreamMember, Way},
};

/// The life of one member, by its name in the fleet.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) id: String,
    /// When it served, or had taken what it was sent first.
    pub(crate) came: Moment,
    /// Just before it was ended; `None` while it lives.
    pub(crate) went: Option<Moment>,
}

/// Every life so far.
#[derive(Clone, Debug)]
pub(crate) struct Lives {
    clock: Clock,
    lives: Arc<Mutex<Vec<Life>>>,
}

/// Members that take turns to be replaced.
pub(crate) struct Churn {
    makers: Makers,
    places: Vec<Place>,
    period: Duration,
}

/// A place in the fleet, and who fills it now.
struct Place {
    slot: usize,
    generation: usize,
    member: Member,
    life: usize,
}

enum Member {
    Envoy(Envoy),
    Stream(StreamMember),
}

#[derive(Clone)]
struct Makers {
    deployment: Deployment,
    way: Way,
    lives: Lives,
    envoys: usize,
}

impl Lives {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            lives: Arc::default(),
        }
    }

    pub(crate) fn all(&self) -> Vec<Life> {
        self.lives
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn begin(&self, id: String) -> usize {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.push(Life {
            id,
            came: self.clock.now(),
            went: None,
        });
        lives.len() - 1
    }

    fn end(&self, life: usize) {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives[life].went = Some(self.clock.now());
    }
}

impl Makers {
    /// Envoys have the first places.
    async fn make(self, slot: usize, generation: usize) -> Result<Place> {
        let instance = format!("{slot}-{generation}");
        let (member, path) = if slot < self.envoys {
            let envoy = self.deployment.start(slot, &instance).await?;
            (Member::Envoy(envoy), PATH)
        } else {
            let stream = StreamMember::come(self.way, instance.clone()).await?;
            (Member::Stream(stream), STREAMS)
        };
        let life = self.lives.begin(format!("{GROUP}/{path}@{instance}"));
        Ok(Place {
            slot,
            generation,
            member,
            life,
        })
    }

    /// Ends the member of a place, at once as a machine that goes, and puts another there.
    async fn replace(self, place: Place) -> Result<Place> {
        let Place {
            slot,
            generation,
            member,
            life,
        } = place;
        self.lives.end(life);
        match member {
            Member::Envoy(mut envoy) => envoy.kill().await?,
            Member::Stream(stream) => drop(stream),
        }
        self.make(slot, generation + 1)
            .await
            .with_context(|| format!("replacing the member at place {slot}"))
    }
}

impl Churn {
    /// Fills every place; `size.each_second` members a second are to be replaced.
    pub(crate) async fn start(
        stage: &Stage,
        deployment: Deployment,
        size: Size,
        lives: &Lives,
    ) -> Result<Self> {
        let certificate = stage.member(STREAMS)?;
        let makers = Makers {
            deployment,
            way: Way::new(stage, &certificate, address_of(0)?.to_string())?,
            lives: lives.clone(),
            envoys: size.envoys,
        };
        let places = stream::iter(0..size.envoys + size.streams)
            .map(|slot| makers.clone().make(slot, 0))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self {
            makers,
            places,
            period: Duration::from_secs(1) / size.each_second,
        })
    }

    /// Replaces one member after the other until `stop`. The first place stays filled: the streams say
    /// that they listen there.
    ///
    /// # Errors
    /// A member could not be replaced.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<()> {
        let Self {
            makers,
            places,
            period,
        } = self;
        let (stay, mut settled): (Vec<_>, Vec<_>) = places.into_iter().partition(|it| it.slot == 0);
        let mut changing = FuturesUnordered::new();
        let mut beats = interval(period);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = 0_usize;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(place) = changing.next() => settled.push(place?),
                _ = beats.tick(), if !settled.is_empty() => {
                    // Strides over the places, so that Envoys and streams take turns.
                    turn = turn.wrapping_add(STRIDE);
                    let place = settled.swap_remove(turn % settled.len());
                    changing.push(makers.clone().replace(place));
                }
            }
        }
        while let Some(place) = changing.next().await {
            settled.push(place?);
        }
        drop((stay, settled));
        Ok(())
    }
}

/// The path in the certificate that the members without an Envoy show.
const STREAMS: &str = "stream";
/// How many come at once in the beginning.
const AT_ONCE: usize = 8;
const STRIDE: usize = 7;
