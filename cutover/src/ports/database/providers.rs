use std::sync::Arc;

use pointsman_catalog::Server;

use super::{error::ProviderError, provider::DatabaseProvider, recorder::Recorder};

/// Every provider of this control plane. Which one reaches a server is decided per server, so
/// that the two servers of a migration can have different ones.
#[derive(Clone, Debug)]
pub struct Providers(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    /// Says which servers are its own.
    decides: Arc<dyn DatabaseProvider>,
    /// Reaches them: the same one, or what it does without effects.
    acts: Arc<dyn DatabaseProvider>,
}

impl Providers {
    /// The first of `providers` that reaches a server is its provider.
    pub fn new(providers: Vec<Arc<dyn DatabaseProvider>>) -> Self {
        let entry = |provider: Arc<dyn DatabaseProvider>| Entry {
            decides: Arc::clone(&provider),
            acts: provider,
        };
        Self(providers.into_iter().map(entry).collect())
    }

    /// The provider of `server`.
    pub fn of(&self, server: &Server) -> Result<&dyn DatabaseProvider, ProviderError> {
        let found = self.0.iter().find(|entry| entry.decides.reaches(server));
        found
            .map(|entry| entry.acts.as_ref())
            .ok_or_else(|| ProviderError::Unfit {
                server: server.name.clone(),
                reason: "no provider of this control plane reaches it".to_owned(),
            })
    }

    /// The same providers without effects, see [`DatabaseProvider::recording`]. Each reaches the
    /// servers that it reaches otherwise.
    pub fn recording(&self, recorder: &Recorder) -> Self {
        let record = |entry: &Entry| Entry {
            decides: Arc::clone(&entry.decides),
            acts: entry.acts.recording(recorder.clone()),
        };
        Self(self.0.iter().map(record).collect())
    }
}
