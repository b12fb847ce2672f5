use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
};

use crate::{resource::ResourceType, snapshot::Snapshot};

/// The missing resources that a stream has asked for. Each is reported once, and at most
/// [`MissingResourceLog::MAX`] per stream.
#[derive(Debug, Default)]
pub(super) struct MissingResourceLog(Option<Box<Reported>>);

/// Hashes of the reported names: a name may be as long as a request.
#[derive(Debug, Default)]
struct Reported {
    hashes: BTreeSet<u64>,
    state: RandomState,
}

impl MissingResourceLog {
    const MAX: usize = 256;

    /// Calls `report` for those of `names` that are missing and not reported yet.
    pub(super) fn report_new(
        &mut self,
        kind: ResourceType,
        names: &[String],
        snapshot: &Snapshot,
        mut report: impl FnMut(&str),
    ) {
        let set = snapshot.set(kind);
        for name in names {
            if name == WILDCARD || set.get(name).is_some() {
                continue;
            }
            let reported = self.0.get_or_insert_default();
            if reported.hashes.len() >= Self::MAX {
                return;
            }
            let hash = reported.state.hash_one((kind.index(), name));
            if reported.hashes.insert(hash) {
                report(name);
            }
        }
    }
}

const WILDCARD: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;

    fn reported(log: &mut MissingResourceLog, names: &[String]) -> Vec<String> {
        let here = Resource::new(ResourceType::Cluster, "here", vec![1].into());
        let snapshot = Snapshot::builder().insert(here).build().unwrap();
        let mut reported = Vec::new();
        log.report_new(ResourceType::Cluster, names, &snapshot, |name| {
            reported.push(name.to_owned());
        });
        reported
    }

    #[test]
    fn a_missing_name_is_reported_once_and_an_existing_one_never() {
        let mut log = MissingResourceLog::default();
        let names = ["*", "here", "there"].map(str::to_owned);
        assert_eq!(reported(&mut log, &names), ["there"]);
        assert!(reported(&mut log, &names).is_empty());
    }

    #[test]
    fn the_number_of_reports_is_bounded() {
        let mut log = MissingResourceLog::default();
        let names: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
        assert_eq!(reported(&mut log, &names).len(), MissingResourceLog::MAX);
    }
}
