use std::sync::Arc;

use tokio::time::Instant;

use crate::{resource::ResourceType, sequence::Sequence};

/// A NACK: a response that a client rejected, and its error message. If the response had several
/// resources, the client may have applied the valid ones; it does not report that.
#[derive(Clone, Debug)]
pub struct Nack {
    pub kind: ResourceType,
    /// The sequence of the response's snapshot.
    pub sequence: Sequence,
    pub at: Instant,
    /// The client's error message, cut to [`Nack::MAX_MESSAGE`].
    pub message: Arc<str>,
    /// The first [`Nack::MAX_RESOURCES`] names of the response, each cut to [`Nack::MAX_NAME`].
    pub resources: Vec<Arc<str>>,
    /// How many resources the response had.
    pub count: usize,
}

impl Nack {
    /// In bytes. The message is stored, logged and displayed.
    pub const MAX_MESSAGE: usize = 4096;
    pub const MAX_RESOURCES: usize = 16;
    /// In bytes.
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

/// Cuts a text to `limit` bytes, with an ellipsis at the end.
fn bounded(text: &Arc<str>, limit: usize) -> Arc<str> {
    if text.len() <= limit {
        return Arc::clone(text);
    }
    let end = text.floor_char_boundary(limit - ELLIPSIS.len());
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
    fn the_message_and_the_names_of_a_nack_are_bounded() {
        let names: Vec<Arc<str>> = (0..40).map(|at| format!("name-{at:02}").into()).collect();
        let nack = nack(&"ü".repeat(Nack::MAX_MESSAGE).into(), &names);
        assert!(nack.message.len() <= Nack::MAX_MESSAGE && nack.message.ends_with("ü…"));
        assert_eq!((nack.resources.len(), nack.count), (16, 40));
        assert_eq!(&*nack.resources[15], "name-15");
    }

    #[test]
    fn long_names_of_a_nack_are_cut() {
        let long = "ü".repeat(Nack::MAX_NAME).into();
        let exact = "x".repeat(Nack::MAX_NAME).into();
        let nack = nack(&"message".into(), &[long, Arc::clone(&exact)]);
        let cut = &nack.resources[0];
        assert!(cut.len() <= Nack::MAX_NAME && cut.ends_with("ü…"), "{cut}");
        assert_eq!(nack.resources[1], exact);
    }
}
