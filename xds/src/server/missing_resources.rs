use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
};

use crate::{resource::ResourceType, snapshot::Snapshot};

/// The names that a stream asked for and that its group does not have, each reported once. Whoever
/// asks without end is reported of no more than so many.
#[derive(Debug, Default)]
pub(super) struct MissingResourceLog(Option<Box<Reported>>);

/// Of each name a hash, since a name may be as long as a request.
#[derive(Debug, Default)]
struct Reported {
    hashes: BTreeSet<u64>,
    state: RandomState,
}

impl MissingResourceLog {
    const MAX: usize = 256;

    /// Tells those of `names` that are new and absent.
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
    fn an_absent_name_is_told_once_and_what_is_there_never() {
        let mut log = MissingResourceLog::default();
        let names = ["*", "here", "there"].map(str::to_owned);
        assert_eq!(reported(&mut log, &names), ["there"]);
        assert!(reported(&mut log, &names).is_empty());
    }

    #[test]
    fn whoever_asks_without_end_is_told_of_no_more_than_so_many() {
        let mut log = MissingResourceLog::default();
        let names: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
        assert_eq!(reported(&mut log, &names).len(), MissingResourceLog::MAX);
    }
}
