//! The lab, and the verifying workload that runs in it.

pub mod bare;
pub mod lab;
pub mod workload;
