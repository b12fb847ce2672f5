//! From errors to gRPC statuses: a code for programs, a message for people.

use std::{error::Error, fmt};

use pointsman_catalog::{CatalogError, Chain, store::StoreError};
use pointsman_cutover::{EngineError, ErrorKind, ports::DataPlaneError};
use tonic::{Code, Status};

use crate::{
    flip::FlipError,
    publish::{NotPublished, ResolveError},
};

/// An error with a gRPC status code.
pub(super) trait GrpcCode: Error {
    fn code(&self) -> Code;
}

/// The status of `error`, with its whole chain of causes.
pub(super) fn refuse<E: GrpcCode>(error: E) -> Status {
    Status::new(error.code(), bounded(Chain(&error).to_string()))
}

/// The status of a request that is wrong in every state.
pub(super) fn invalid(message: impl fmt::Display) -> Status {
    Status::invalid_argument(bounded(message.to_string()))
}

impl GrpcCode for EngineError {
    fn code(&self) -> Code {
        match self.kind() {
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::Exists => Code::AlreadyExists,
            ErrorKind::Invalid => Code::InvalidArgument,
            ErrorKind::Precondition => Code::FailedPrecondition,
            ErrorKind::Unavailable => Code::Unavailable,
        }
    }
}

impl GrpcCode for CatalogError {
    fn code(&self) -> Code {
        match self {
            Self::UnknownServer { .. }
            | Self::UnknownDatabase { .. }
            | Self::UnknownNode { .. }
            | Self::UnknownGroup { .. } => Code::NotFound,
            Self::Clash(_) | Self::GroupClash(_) | Self::CutsSessions(_) => {
                Code::FailedPrecondition
            }
            Self::Store(error) => error.code(),
        }
    }
}

impl GrpcCode for StoreError {
    fn code(&self) -> Code {
        match self {
            Self::Conflict { .. } => Code::Aborted,
            Self::Corrupt { .. } => Code::DataLoss,
            Self::Format { .. } => Code::FailedPrecondition,
            Self::Locked { .. }
            | Self::Missing { .. }
            | Self::Exists { .. }
            | Self::Foreign { .. }
            | Self::Unavailable(_) => Code::Unavailable,
        }
    }
}

impl GrpcCode for DataPlaneError {
    fn code(&self) -> Code {
        match self {
            Self::Store(_) | Self::NotPublished(_) => Code::Unavailable,
            Self::Render(_) => Code::FailedPrecondition,
            Self::Disturbed(_) => Code::Aborted,
        }
    }
}

impl GrpcCode for ResolveError {
    fn code(&self) -> Code {
        match self {
            Self::Catalog(error) => error.code(),
            Self::Unresolved(_) => Code::FailedPrecondition,
        }
    }
}

impl GrpcCode for NotPublished {
    fn code(&self) -> Code {
        match self {
            Self::Render(_) => Code::FailedPrecondition,
            Self::Late => Code::Unavailable,
        }
    }
}

impl GrpcCode for FlipError {
    fn code(&self) -> Code {
        match self {
            Self::Catalog(error) => error.code(),
            Self::Engine(error) => error.code(),
            Self::DataPlane(error) => error.code(),
            Self::Migrating { .. }
            | Self::MigrationUnreadable { .. }
            | Self::ReaderNotProven { .. }
            | Self::TargetNotWritable { .. }
            | Self::OldWriterNotClosed { .. } => Code::FailedPrecondition,
        }
    }
}

/// Cuts a long message. It travels percent-encoded in an HTTP/2 header, and clients refuse
/// headers above 16 KiB.
fn bounded(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let mut end = MAX_MESSAGE;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str(" … (and more)");
    }
    message
}

/// The maximal length in bytes. Percent-encoding makes three of one, which stays below 16 KiB.
const MAX_MESSAGE: usize = 4_000;

#[cfg(test)]
mod tests {
    use pointsman_catalog::{DatabaseName, ServerName};

    use super::*;

    #[test]
    fn each_kind_of_error_has_its_code() {
        let unknown = EngineError::Unknown {
            name: "m".to_owned(),
            known: Vec::new(),
        };
        let refused = EngineError::Refused("not now".to_owned());
        let invalid = EngineError::Invalid("never".to_owned());
        let exists = EngineError::Exists("m".to_owned());
        assert_eq!(refuse(unknown).code(), Code::NotFound);
        assert_eq!(refuse(refused).code(), Code::FailedPrecondition);
        assert_eq!(refuse(invalid).code(), Code::InvalidArgument);
        assert_eq!(refuse(exists).code(), Code::AlreadyExists);
    }

    #[test]
    fn a_message_carries_the_causes_of_the_error() {
        let cause = std::io::Error::other("no space left on device");
        let error = CatalogError::Store(StoreError::Unavailable(Box::new(cause)));
        let status = refuse(error);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(
            status.message(),
            "the store failed: no space left on device"
        );
    }

    #[test]
    fn a_flip_that_might_make_two_writers_is_a_failed_precondition() {
        let error = FlipError::OldWriterNotClosed {
            database: DatabaseName::new("orders").unwrap(),
            to: ServerName::new("green").unwrap(),
            old: ServerName::new("blue").unwrap(),
            reason: "it took a write just now".to_owned(),
        };
        assert_eq!(refuse(error).code(), Code::FailedPrecondition);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let message = bounded("é".repeat(3_000));
        assert!(message.ends_with(" … (and more)"));
        assert!(message.len() < MAX_MESSAGE + 20);
    }
}
