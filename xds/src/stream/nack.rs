use std::sync::Arc;

use tokio::time::Instant;

use crate::{cache::Sequence, resource::ResourceType};

/// A response that a client refused, and what it said. A client may have taken the valid ones
/// of several resources; it says nothing of that.
#[derive(Clone, Debug)]
pub struct Nack {
    pub kind: ResourceType,
    /// The publish that the response was cut from.
    pub sequence: Sequence,
    pub at: Instant,
    /// The client's own, at most [`Nack::MAX_WORDS`].
    pub words: Arc<str>,
    /// The first [`Nack::MAX_RESOURCES`] of the response, by name.
    pub resources: Vec<Arc<str>>,
    /// How many resources the response had.
    pub count: usize,
}

impl Nack {
    /// In bytes. Words are kept, logged and shown.
    pub const MAX_WORDS: usize = 4096;
    pub const MAX_RESOURCES: usize = 16;

    pub(super) fn new<'a>(
        kind: ResourceType,
        sequence: Sequence,
        at: Instant,
        words: &Arc<str>,
        resources: impl ExactSizeIterator<Item = &'a Arc<str>>,
    ) -> Self {
        let count = resources.len();
        Self {
            kind,
            sequence,
            at,
            words: bounded(words),
            resources: resources.take(Self::MAX_RESOURCES).cloned().collect(),
            count,
        }
    }
}

fn bounded(words: &Arc<str>) -> Arc<str> {
    if words.len() <= Nack::MAX_WORDS {
        return Arc::clone(words);
    }
    words[..words.floor_char_boundary(Nack::MAX_WORDS)].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_a_bounded_part_of_what_it_is_about() {
        let names: Vec<Arc<str>> = (0..40).map(|at| format!("name-{at:02}").into()).collect();
        let words: Arc<str> = "ü".repeat(Nack::MAX_WORDS).into();
        let kind = ResourceType::Endpoints;
        let now = Instant::now();
        let nack = Nack::new(kind, Sequence::default(), now, &words, names.iter());
        assert_eq!(nack.words.len(), Nack::MAX_WORDS);
        assert_eq!((nack.resources.len(), nack.count), (16, 40));
        assert_eq!(&*nack.resources[15], "name-15");
    }
}
