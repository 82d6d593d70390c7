//! Moves records through validation and enrichment from one Kafka topic to another, losing none.
// `println!` and `eprintln!` panic where nobody takes what they say: `say!` and `tell!` don't.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod app;
pub mod assignment;
mod audit;
pub mod cli;
pub mod config;
pub mod dead_letter;
pub mod generator;
pub mod geoip;
mod http_client;
pub mod kafka;
pub mod observe;
pub mod offsets;
pub mod output;
pub mod ownership;
pub mod retry;
pub mod source;
pub mod stages;
pub mod supervisor;
pub mod tracker;
pub mod worker;

pub use kafka_records::{murmur2, record, topic};
pub use login_event as event;
