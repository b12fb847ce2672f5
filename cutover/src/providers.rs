//! Implementations of [`crate::ports::DatabaseProvider`].

pub mod postgres;
