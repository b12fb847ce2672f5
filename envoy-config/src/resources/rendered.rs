use bytes::Bytes;
use pointsman_xds::{Resource, ResourceType};

/// One Envoy resource, ready to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rendered {
    pub kind: ResourceType,
    pub name: String,
    /// The encoded message.
    pub body: Bytes,
    /// What the resource's version is the hash of: the body, except for a held route. Its
    /// body tells how much of the hold is left and so differs from one rendering to the
    /// next; its version must not, because Envoy restarts the time at each resend.
    pub version_seed: Bytes,
}

impl Rendered {
    pub(super) fn new(kind: ResourceType, name: &str, body: Vec<u8>) -> Self {
        let body = Bytes::from(body);
        Self {
            kind,
            name: name.to_owned(),
            version_seed: body.clone(),
            body,
        }
    }
}

impl From<Rendered> for Resource {
    fn from(rendered: Rendered) -> Self {
        let Rendered {
            kind,
            name,
            body,
            version_seed,
        } = rendered;
        Self::with_version_of(kind, name, body, &version_seed)
    }
}
