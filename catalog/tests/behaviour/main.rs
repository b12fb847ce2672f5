//! What every store keeps to, what the embedded one adds, and what the catalogue makes of it.

#![expect(
    clippy::unwrap_used,
    reason = "the claims are functions that tests share, and a failed unwrap fails the test"
)]

mod catalog;
mod embedded;
mod groups;
mod second_process;
mod store_suite;
