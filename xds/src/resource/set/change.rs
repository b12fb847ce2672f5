use std::sync::Arc;

use crate::resource::Resource;

/// The difference of one name between two sets.
#[derive(Clone, Debug)]
pub(crate) struct ResourceChange {
    pub(crate) before: Option<Resource>,
    pub(crate) after: Option<Resource>,
}

impl ResourceChange {
    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.after
            .as_ref()
            .or(self.before.as_ref())
            .map(Resource::name)
    }
}
