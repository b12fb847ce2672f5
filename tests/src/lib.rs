//! The lab, and the verifying workload that runs in it.

pub mod bare;
pub mod bench;
pub mod demo;
pub mod fanout;
pub mod lab;
pub mod migration;
pub mod result_file;
pub mod workload;
