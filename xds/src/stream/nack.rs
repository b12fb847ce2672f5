use std::sync::Arc;

use tokio::time::Instant;

use crate::{resource::ResourceType, sequence::Sequence};

/// A response that a client refused, and what it said. A client may have taken the valid ones
/// of several resources; it says nothing of that.
#[derive(Clone, Debug)]
pub struct Nack {
    pub kind: ResourceType,
    /// The publish that the response was cut from.
    pub sequence: Sequence,
    pub at: Instant,
    /// The client's own, at most [`Nack::MAX_MESSAGE`].
    pub message: Arc<str>,
    /// The first [`Nack::MAX_RESOURCES`] of the response, by name, each cut to
    /// [`Nack::MAX_NAME`].
    pub resources: Vec<Arc<str>>,
    /// How many resources the response had.
    pub count: usize,
}

impl Nack {
    /// In bytes. Words are kept, logged and shown.
    pub const MAX_MESSAGE: usize = 4096;
    pub const MAX_RESOURCES: usize = 16;
    /// In bytes, of one resource's name.
    pub const MAX_NAME: usize = 256;

    pub(super) fn new<'a>(
        kind: ResourceType,
        sequence: Sequence,
        at: Instant,
        message: &Arc<str>,
        resources: impl ExactSizeIterator<Item = &'a Arc<str>>,
    ) -> Self {
        let count = resources.len();
        Self {
            kind,
            sequence,
            at,
            message: bounded(message, Self::MAX_MESSAGE),
            resources: resources
                .take(Self::MAX_RESOURCES)
                .map(|name| bounded(name, Self::MAX_NAME))
                .collect(),
            count,
        }
    }
}

/// At most so many bytes, and an ellipsis for the rest.
fn bounded(text: &Arc<str>, most: usize) -> Arc<str> {
    if text.len() <= most {
        return Arc::clone(text);
    }
    let end = text.floor_char_boundary(most - ELLIPSIS.len());
    [&text[..end], ELLIPSIS].concat().into()
}

const ELLIPSIS: &str = "…";

#[cfg(test)]
mod tests {
    use super::*;

    fn nack(message: &Arc<str>, names: &[Arc<str>]) -> Nack {
        let (kind, sequence) = (ResourceType::Endpoints, Sequence::default());
        Nack::new(kind, sequence, Instant::now(), message, names.iter())
    }

    #[test]
    fn a_refusal_keeps_a_bounded_part_of_what_it_is_about() {
        let names: Vec<Arc<str>> = (0..40).map(|at| format!("name-{at:02}").into()).collect();
        let nack = nack(&"ü".repeat(Nack::MAX_MESSAGE).into(), &names);
        assert!(nack.message.len() <= Nack::MAX_MESSAGE && nack.message.ends_with("ü…"));
        assert_eq!((nack.resources.len(), nack.count), (16, 40));
        assert_eq!(&*nack.resources[15], "name-15");
    }

    #[test]
    fn a_refusal_keeps_a_bounded_part_of_a_long_name() {
        let long = "ü".repeat(Nack::MAX_NAME).into();
        let exact = "x".repeat(Nack::MAX_NAME).into();
        let nack = nack(&"message".into(), &[long, Arc::clone(&exact)]);
        let cut = &nack.resources[0];
        assert!(cut.len() <= Nack::MAX_NAME && cut.ends_with("ü…"), "{cut}");
        assert_eq!(nack.resources[1], exact);
    }
}
