//! The program on a real Apache Kafka. Without Java and Maven its tests say so and pass; under CI they fail.
//!
//! A cluster that tests share is as most tests want it; who breaks brokers, or needs settings, starts one. Topics,
//! groups and transactional ids bear their test's name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper fails as its test would; clippy.toml allows it inside #[test] only"
)]

mod coordinator;
mod delivery;
mod dlq;
mod enrich;
mod exactly_once;
mod group;
mod harness;
mod network;
#[cfg(feature = "demo")]
mod newcomer;
mod offsets;
mod reader;
mod sandbox_transactions;
mod security;
mod topics;
mod traps;
