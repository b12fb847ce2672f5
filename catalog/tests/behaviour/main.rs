//! What every store keeps to, what the embedded one adds, and what the catalogue makes of it.

mod catalog;
mod embedded;
mod second_process;
mod store_suite;
