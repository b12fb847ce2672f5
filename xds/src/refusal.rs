use tonic::Status;

/// Why a client is not served. The client receives the message.
///
/// Clients of any kind come again after both. One that keeps what it was served forgets it when it is denied,
/// and only then.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The client is not entitled, or it says something of itself that is not served. That stays so until
    /// somebody changes it. The stream ends with PERMISSION_DENIED.
    #[error("{0}")]
    Denied(String),
    /// The client cannot be served now: a bound is reached, something else has to come first, or the server has
    /// a fault. The stream ends with UNAVAILABLE.
    #[error("{0}")]
    Unavailable(String),
}

impl Refusal {
    /// The same with another message.
    #[must_use]
    pub fn map(self, message: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Denied(reason) => Self::Denied(message(&reason)),
            Self::Unavailable(reason) => Self::Unavailable(message(&reason)),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(message) => Self::permission_denied(message),
            Refusal::Unavailable(message) => Self::unavailable(message),
        }
    }
}
