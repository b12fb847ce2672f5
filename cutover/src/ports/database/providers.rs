use std::sync::Arc;

use pointsman_catalog::Server;

use super::{error::ProviderError, provider::DatabaseProvider, recorder::Recorder};

/// Every provider of this control plane. Which one reaches a server is decided per server, so
/// that the two servers of a migration can have different ones.
#[derive(Clone, Debug)]
pub struct Providers(Vec<Arc<dyn DatabaseProvider>>);

impl Providers {
    /// The first of `providers` that reaches a server is its provider.
    pub fn new(providers: Vec<Arc<dyn DatabaseProvider>>) -> Self {
        Self(providers)
    }

    /// The provider of `server`.
    pub fn of(&self, server: &Server) -> Result<&dyn DatabaseProvider, ProviderError> {
        let found = self.0.iter().find(|provider| provider.reaches(server));
        found.map(Arc::as_ref).ok_or_else(|| ProviderError::Unfit {
            server: server.name.clone(),
            reason: "no provider of this control plane reaches it".to_owned(),
        })
    }

    /// The same providers without effects, see [`DatabaseProvider::recording`].
    pub fn recording(&self, recorder: &Recorder) -> Self {
        let providers = self.0.iter();
        Self(
            providers
                .map(|provider| provider.recording(recorder.clone()))
                .collect(),
        )
    }
}
