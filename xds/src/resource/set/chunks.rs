//! A sorted list in chunks that copies share. A change of a list with n resources copies one chunk and
//! n / [`FULL`] pointers. A comparison of two lists skips their shared chunks.

use std::{cmp::Ordering, sync::Arc};

use super::ResourceChange;
use crate::resource::Resource;

#[derive(Clone, Debug, Default)]
pub(super) struct Chunks {
    /// Each chunk is sorted and not empty.
    chunks: Vec<Arc<Vec<Resource>>>,
    len: usize,
}

impl Chunks {
    /// `resources` are sorted by name, and no name occurs twice.
    pub(super) fn from_sorted(resources: Vec<Resource>) -> Self {
        let chunks = resources.chunks(FULL / 2);
        Self {
            len: resources.len(),
            chunks: chunks.map(|chunk| Arc::new(chunk.to_vec())).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, name: &str) -> Option<&Resource> {
        let chunk = self.chunks.get(self.place(name))?;
        let at = position(chunk, name).ok()?;
        chunk.get(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Returns the former resource of the name.
    pub(super) fn insert(&mut self, resource: Resource) -> Option<Resource> {
        let Some(last) = self.chunks.len().checked_sub(1) else {
            self.chunks.push(Arc::new(vec![resource]));
            self.len = 1;
            return None;
        };
        let place = self.place(resource.name()).min(last);
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        match position(chunk, resource.name()) {
            Ok(at) => return Some(std::mem::replace(&mut chunk[at], resource)),
            Err(at) => chunk.insert(at, resource),
        }
        self.len += 1;
        if chunk.len() > FULL {
            let upper = chunk.split_off(FULL / 2);
            self.chunks.insert(place + 1, Arc::new(upper));
        }
        None
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Resource> {
        let place = self.place(name);
        let chunk = self.chunks.get_mut(place)?;
        let at = position(chunk, name).ok()?;
        let former = Arc::make_mut(chunk).remove(at);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(place);
        } else {
            self.merge(place);
            self.merge(place.saturating_sub(1));
        }
        Some(former)
    }

    pub(super) fn changes_since(&self, former: &Self) -> Vec<ResourceChange> {
        let mut changes = Vec::new();
        let mut old = Cursor::new(former);
        let mut new = Cursor::new(self);
        loop {
            if let (Some(mine), Some(theirs)) = (new.whole_chunk(), old.whole_chunk())
                && Arc::ptr_eq(mine, theirs)
            {
                new.skip_chunk();
                old.skip_chunk();
                continue;
            }
            let (before, after) = (old.peek(), new.peek());
            let order = match (before, after) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(after)) => before.name().cmp(after.name()),
            };
            let before = before.filter(|_| order.is_le());
            let after = after.filter(|_| order.is_ge());
            if before.map(Resource::version) != after.map(Resource::version) {
                changes.push(ResourceChange {
                    before: before.cloned(),
                    after: after.cloned(),
                });
            }
            if order.is_le() {
                old.step();
            }
            if order.is_ge() {
                new.step();
            }
        }
    }

    /// The index of the chunk that holds `name`, if any does.
    fn place(&self, name: &str) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| &**last.name() < name))
    }

    /// Merges a chunk with the next one if both are small, so that removals do not leave many small
    /// chunks.
    fn merge(&mut self, place: usize) {
        let both = self.chunks.get(place).zip(self.chunks.get(place + 1));
        if both.is_some_and(|(one, next)| one.len() + next.len() <= FULL / 2) {
            let next = self.chunks.remove(place + 1);
            Arc::make_mut(&mut self.chunks[place]).extend(next.iter().cloned());
        }
    }
}

fn position(chunk: &[Resource], name: &str) -> Result<usize, usize> {
    chunk.binary_search_by(|resource| (**resource.name()).cmp(name))
}

/// A position in a list.
struct Cursor<'a> {
    chunks: &'a [Arc<Vec<Resource>>],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(list: &'a Chunks) -> Self {
        Self {
            chunks: &list.chunks,
            at: 0,
        }
    }

    fn peek(&self) -> Option<&'a Resource> {
        self.chunks.first()?.get(self.at)
    }

    /// The chunk that begins at this position.
    fn whole_chunk(&self) -> Option<&'a Arc<Vec<Resource>>> {
        self.chunks.first().filter(|_| self.at == 0)
    }

    fn skip_chunk(&mut self) {
        self.chunks = self.chunks.get(1..).unwrap_or_default();
        self.at = 0;
    }

    fn step(&mut self) {
        self.at += 1;
        if self.peek().is_none() {
            self.skip_chunk();
        }
    }
}

/// The maximal size of a chunk. Copying a chunk costs about as much as copying the pointers to all
/// chunks of some thousands of resources.
const FULL: usize = 128;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{fixture::opaque, resource::ResourceType::Route};

    fn many(count: usize) -> Chunks {
        let all = (0..count).map(|n| opaque(Route, &format!("{n:06}"), "1"));
        Chunks::from_sorted(all.collect())
    }

    /// Pseudo-random, the same in every run.
    fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
        move |below| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    #[test]
    fn a_list_holds_what_a_map_would_and_names_what_changed() {
        let mut random = numbers(7);
        let mut list = Chunks::default();
        let mut model = BTreeMap::new();
        for _ in 0..200 {
            let (list_before, model_before) = (list.clone(), model.clone());
            for _ in 0..random(60) {
                let name = format!("{:03}", random(500));
                if random(3) == 0 {
                    assert_eq!(list.remove(&name), model.remove(&*name));
                } else {
                    let resource = opaque(Route, &name, &random(3).to_string());
                    let former = model.insert(name, resource.clone());
                    assert_eq!(list.insert(resource), former);
                }
            }
            assert!(list.iter().eq(model.values()));
            assert_eq!(list.len(), model.len());
            assert!(model.keys().all(|name| list.get(name) == model.get(name)));
            let names: std::collections::BTreeSet<_> =
                model.keys().chain(model_before.keys()).collect();
            let expected = names
                .into_iter()
                .filter(|name| model.get(*name) != model_before.get(*name));
            let changes = list.changes_since(&list_before);
            assert!(
                changes
                    .iter()
                    .map(|c| c.name().unwrap().to_string())
                    .eq(expected.cloned())
            );
            for change in &changes {
                let name = change.name().unwrap();
                assert_eq!(change.before.as_ref(), model_before.get(&**name));
                assert_eq!(change.after.as_ref(), model.get(&**name));
            }
        }
    }

    #[test]
    fn an_edited_copy_shares_all_chunks_but_one() {
        let list = many(10_000);
        let mut edited = list.clone();
        edited.insert(opaque(Route, "005000", "2"));
        let shared = list
            .chunks
            .iter()
            .zip(&edited.chunks)
            .filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(shared.count(), list.chunks.len() - 1);
        assert_eq!(edited.changes_since(&list).len(), 1);
    }

    #[test]
    fn removals_leave_few_chunks() {
        let mut list = many(10_000);
        for n in (0..10_000).filter(|n| n % 100 != 0) {
            list.remove(&format!("{n:06}"));
        }
        assert_eq!(list.len(), 100);
        assert!(list.chunks.len() < 10, "{}", list.chunks.len());
    }
}
