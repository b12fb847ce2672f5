//! What runs in the lab over the whole: the demo and the benchmarks.

pub mod adversaries;
pub mod audit;
pub mod bare;
pub mod bench;
pub mod cache;
pub mod chaos;
pub mod cloud;
pub mod crash;
pub mod crowd;
pub mod demo;
pub mod fanout;
pub mod inventory;
pub mod migration;
pub mod paper_api;
pub mod peers;
pub mod program;
pub mod reached_by_sql;
pub mod versions;
