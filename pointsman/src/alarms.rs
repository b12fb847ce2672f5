//! Health alarms of the bake. A new one is a file beside the others and its lines here.

mod connect_failures;
mod ticks;
mod write_probe;

use std::sync::Arc;

use pointsman_catalog::Catalog;
use pointsman_cutover::ports::{AlarmSource, Clock, Providers};

use crate::{
    publish::{AddressBook, FleetView},
    telemetry::SessionTracker,
};

use connect_failures::{ConnectFailureSettings, ConnectFailures};
use write_probe::{ProbeSettings, WriteProbe};

/// When alarms fire: what an operator can set of each source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct AlarmSettings {
    pub(crate) probe: ProbeSettings,
    pub(crate) connect_failures: ConnectFailureSettings,
}

/// What alarm sources may look at, and their settings.
#[derive(Debug)]
pub(crate) struct AlarmContext {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) view: Arc<FleetView>,
    pub(crate) addresses: Arc<AddressBook>,
    pub(crate) tracker: Arc<SessionTracker>,
    pub(crate) providers: Providers,
    pub(crate) settings: AlarmSettings,
}

/// Every alarm source.
pub(crate) fn all(context: AlarmContext) -> Vec<Arc<dyn AlarmSource>> {
    let write_probe = WriteProbe::new(
        context.catalog,
        Arc::clone(&context.clock),
        Arc::clone(&context.view),
        context.providers,
        context.settings.probe,
    );
    let connect_failures = ConnectFailures {
        clock: context.clock,
        view: context.view,
        addresses: context.addresses,
        tracker: context.tracker,
        settings: context.settings.connect_failures,
    };
    vec![Arc::new(write_probe), Arc::new(connect_failures)]
}
