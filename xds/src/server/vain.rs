use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
};

use crate::{resource::ResourceType, snapshot::Snapshot};

/// The names that a stream asked for and that its group does not have, each told once. Whoever
/// asks without end is told of no more than so many.
#[derive(Debug, Default)]
pub(super) struct Vain(Option<Box<Told>>);

/// Of each name a hash, since a name may be as long as a request.
#[derive(Debug, Default)]
struct Told {
    hashes: BTreeSet<u64>,
    state: RandomState,
}

impl Vain {
    const MAX: usize = 256;

    /// Tells those of `names` that are new and absent.
    pub(super) fn tell(
        &mut self,
        kind: ResourceType,
        names: &[String],
        snapshot: &Snapshot,
        mut tell: impl FnMut(&str),
    ) {
        let set = snapshot.set(kind);
        for name in names {
            if name == WILDCARD || set.get(name).is_some() {
                continue;
            }
            let told = self.0.get_or_insert_default();
            if told.hashes.len() >= Self::MAX {
                return;
            }
            let hash = told.state.hash_one((kind.index(), name));
            if told.hashes.insert(hash) {
                tell(name);
            }
        }
    }
}

const WILDCARD: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;

    fn told(vain: &mut Vain, names: &[String]) -> Vec<String> {
        let here = Resource::new(ResourceType::Cluster, "here", vec![1].into());
        let snapshot = Snapshot::builder().insert(here).build().unwrap();
        let mut told = Vec::new();
        vain.tell(ResourceType::Cluster, names, &snapshot, |name| {
            told.push(name.to_owned());
        });
        told
    }

    #[test]
    fn an_absent_name_is_told_once_and_what_is_there_never() {
        let mut vain = Vain::default();
        let names = ["*", "here", "there"].map(str::to_owned);
        assert_eq!(told(&mut vain, &names), ["there"]);
        assert!(told(&mut vain, &names).is_empty());
    }

    #[test]
    fn whoever_asks_without_end_is_told_of_no_more_than_so_many() {
        let mut vain = Vain::default();
        let names: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
        assert_eq!(told(&mut vain, &names).len(), Vain::MAX);
    }
}
